"""A download from our gateway against nginx with `sendfile`, which serves the same bytes. Goal: ≥ 0.8 of its speed.

Starts `layercut gateway` and nginx (apt's) on free ports of 127.0.0.1. One job is posted, and ended by this script in
the worker's place with a model file of 183 MB beside small ones. Two cases: that file, and the tar of all. nginx has
the tar as a file; we make it of the files as it is sent. Ours and nginx take turns; the client is a process of its own
that reads into one buffer and keeps nothing.

The last rows are of GETs of the job, alone, and while downloads follow each other without a pause.

Ends with one line of JSON: our speed over nginx's, of the slower case.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
from _minilm import SOURCE
from _progress import at
from _servers import free_port, serving
from rich.console import Console
from rich.table import Table

from api_schemas.errors import JobError
from api_schemas.events import EventType, FailedData, new_event
from store.artifacts import ArtifactStore
from store.database import open_engine
from store.jobs import JobStore
from store.settings import StoreSettings

MEGABYTES = 183
ROUNDS = {True: 7, False: 25}
GETS = {True: 200, False: 1000}
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"

CONFIG = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off; sendfile on; tcp_nopush on; default_type application/octet-stream;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen 127.0.0.1:{port}; root {folder}/www; }}
}}
"""

#: Prints the seconds of one download, from connecting to the last byte, and how many bytes came with the head.
CLIENT = """
import socket, sys, time
port, path = int(sys.argv[1]), sys.argv[2]
buffer = bytearray(1 << 20)
for _ in sys.stdin:
    began, got = time.perf_counter(), 0
    with socket.create_connection(("127.0.0.1", port)) as wire:
        wire.sendall(f"GET {path} HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n".encode())
        while count := wire.recv_into(buffer):
            got += count
    print(time.perf_counter() - began, got, flush=True)
"""


class Client:
    """Downloads one address again and again."""

    def __init__(self, port: int, path: str, size: int) -> None:
        self._size = size
        self._process = subprocess.Popen(
            [sys.executable, "-c", CLIENT, str(port), path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def seconds(self) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        seconds, got = self._process.stdout.readline().split()
        if int(got) < self._size:
            raise SystemExit(f"{got} bytes came of {self._size}")
        return float(seconds)

    def close(self) -> None:
        self._process.communicate("")


def finish_a_job(client: httpx.Client, data: Path, export: Path, artifacts_url: str = "") -> str:
    """Post a job, and do what its worker would: publish ``export``, by default in the data folder."""
    body = {"model": str(SOURCE), "task": "none", "prune": {"strategy": "top", "drop": 2}}
    job: str = client.post("/v1/jobs", json=body).raise_for_status().json()["id"]
    settings = StoreSettings(data_dir=data, database_url="", broker_url="", artifacts_url=artifacts_url)
    engine = open_engine(settings.database_url)
    store = JobStore(engine)
    claim = store.claim("benchmark")
    assert claim is not None
    ArtifactStore(settings.artifacts_url).publish(claim.lease.prefix, export, job)
    # The one ending with files that wants no figures of a model.
    error = JobError(code="objective_not_met", message="no model was made", retryable=False)
    store.finish(claim.lease, new_event(EventType.FAILED, "ended", FailedData(error=error)), claim.lease.prefix)
    engine.dispose()
    return job


def write_export(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(os.urandom(MEGABYTES * 10**6))
    for path in SOURCE.iterdir():
        if path.is_file() and path.suffix != ".safetensors":
            shutil.copy(path, folder / path.name)


def compare(ours: Client, theirs: Client, rounds: int) -> list[tuple[float, float]]:
    """Seconds of ours and of nginx, in turns, the first pair left out."""
    pairs = [(ours.seconds(), theirs.seconds()) for _ in range(rounds + 1)]
    return pairs[1:]


def time_gets(client: httpx.Client, job: str, count: int) -> list[float]:
    times = []
    for _ in range(count):
        began = time.perf_counter()
        client.get(f"/v1/jobs/{job}").raise_for_status()
        times.append(1000 * (time.perf_counter() - began))
    return times


def time_gets_meanwhile(client: httpx.Client, job: str, count: int, download: Client) -> list[float]:
    over = threading.Event()

    def go_on() -> None:
        while not over.is_set():
            download.seconds()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        return time_gets(client, job, count)
    finally:
        over.set()
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    if not Path(NGINX).exists():
        raise SystemExit("nginx is not here: apt-get install nginx")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="layercut-downloads-")))
        figures = measure(stack, folder, quick)
    print(json.dumps(figures))


def measure(stack: ExitStack, folder: Path, quick: bool) -> dict[str, float]:
    port, other = free_port(), free_port()
    at("a gateway and nginx start")
    command = [sys.executable, "-P", "-m", "cli.main", "gateway", "--port", str(port)]
    gateway = serving(
        command, port, folder / "gateway.log",
        LAYERCUT_DATA_DIR=str(folder / "data"), LAYERCUT_MODEL_ROOTS=str(SOURCE), LAYERCUT_AUTH="off",
    )  # fmt: skip
    stack.enter_context(gateway)
    client = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False))
    write_export(folder / "export")
    job = finish_a_job(client, folder / "data", folder / "export")

    (folder / "www").mkdir()
    os.rename(folder / "export" / "model.safetensors", folder / "www" / "file")
    (folder / "www" / "tar").write_bytes(client.get(f"/v1/jobs/{job}/download").raise_for_status().content)
    (folder / "nginx.conf").write_text(CONFIG.format(folder=folder, port=other))
    nginx = [NGINX, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    stack.enter_context(serving(nginx, other, folder / "nginx.log"))

    addresses = {"file": f"/v1/jobs/{job}/files/model.safetensors", "tar": f"/v1/jobs/{job}/download"}
    table = Table("download", "ours, GB/s", "nginx, GB/s", "ours / nginx", "spread of it")
    ratios = {}
    for name, path in addresses.items():
        at(f"the {name}: {ROUNDS[quick]} rounds")
        size = (folder / "www" / name).stat().st_size
        ours, theirs = Client(port, path, size), Client(other, f"/{name}", size)
        stack.callback(theirs.close)
        stack.callback(ours.close)
        pairs = compare(ours, theirs, ROUNDS[quick])
        speeds = [statistics.median(size / 1e9 / pair[side] for pair in pairs) for side in (0, 1)]
        each = sorted(there / here for here, there in pairs)
        ratios[name] = speeds[0] / speeds[1]
        table.add_row(
            name, f"{speeds[0]:.2f}", f"{speeds[1]:.2f}", f"{ratios[name]:.2f}", f"{each[0]:.2f} to {each[-1]:.2f}"
        )

    at("GETs of the job, alone and beside downloads")
    alone = time_gets(client, job, GETS[quick])
    beside = time_gets_meanwhile(client, job, GETS[quick], ours)
    Console().print(table)
    gets = Table("GET of the job", "p50, ms", "p95, ms")
    for what, times in (("alone", alone), ("beside downloads of the tar", beside)):
        gets.add_row(what, f"{statistics.median(times):.1f}", f"{statistics.quantiles(times, n=20)[-1]:.1f}")
    Console().print(gets)
    return {
        "download_over_nginx": round(min(ratios.values()), 3),
        **{f"{name}_over_nginx": round(ratio, 3) for name, ratio in ratios.items()},
        "get_p50_ms": round(statistics.median(alone), 2),
        "get_p95_ms_beside_downloads": round(statistics.quantiles(beside, n=20)[-1], 2),
    }


if __name__ == "__main__":
    main()
