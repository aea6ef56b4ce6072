"""Artifacts of 2 GB through an S3 server: memory, and speed against curl. Goals: < 200 MB, ≥ 1.0 of curl's speed.

Starts SeaweedFS (from the dev extra) and `layercut gateway` on free ports of 127.0.0.1. Up is `ArtifactStore.publish`,
as a worker calls it, against `curl -T`; down is `ArtifactStore.fetch` against `curl -o`; all sign with the same key.
Each transfer is a process of its own, which tells its greatest resident size, and ours and curl's take turns. Then the
gateway sends the same file, as users get it, and the tar.

The last rows are of a line that gives each connection 20 MB/s, as object stores far away do: a relay of ours.

Ends with one line of JSON: the most memory, and our speed over curl's.
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
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
from _minilm import SOURCE
from _progress import at
from _seaweedfs import BUCKET, OWNER, REGION, Seaweed, seaweed
from _servers import free_port, serving
from downloads import finish_a_job
from rich.console import Console
from rich.table import Table

MEGABYTES = {True: 256, False: 2048}
ROUNDS = 3
SHARE = 20e6
RELAY = Path(__file__).with_name("_relay.py")

#: One transfer by us: its seconds, and the greatest resident size of the process in MB.
OURS = """
import resource, sys, time
from pathlib import Path
from store.artifacts import ArtifactStore
what, url, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
store = ArtifactStore(url)
began = time.perf_counter()
store.publish("ours", folder) if what == "up" else store.fetch("ours", folder)
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@dataclass(frozen=True)
class Bench:
    """``environment`` leads to the server, or to the relay before it."""

    folder: Path
    environment: dict[str, str]
    megabytes: int

    @property
    def url(self) -> str:
        return f"s3://{BUCKET}/bench"

    def ours(self, what: str) -> tuple[float, float]:
        """Seconds, and MB of memory."""
        target = self.folder / ("export" if what == "up" else "got")
        done = self._run([sys.executable, "-c", OURS, what, self.url, str(target)])
        seconds, memory = map(float, done.split())
        return seconds, memory

    def curl(self, what: str) -> float:
        """Seconds."""
        file, address = (
            self.folder / "export" / "model.safetensors",
            f"{self.environment['AWS_ENDPOINT']}/{BUCKET}/curl",
        )
        how = ["-T", str(file), "-o", "/dev/null"] if what == "up" else ["-o", str(self.folder / "got" / "curl")]
        signed = ["--aws-sigv4", f"aws:amz:{REGION}:s3", "--user", f"{OWNER.access_key}:{OWNER.secret_key}"]
        done = self._run(["curl", "-sSf", "--noproxy", "*", *signed, *how, "-w", "%{time_total}", address])
        return float(done)

    def _run(self, command: list[str]) -> str:
        (self.folder / "got").mkdir(exist_ok=True)
        environment = {**os.environ, **self.environment}
        return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


class Row:
    """Of one direction: seconds of each round, of ours and of curl's."""

    def __init__(self, bench: Bench, what: str, rounds: int) -> None:
        self.megabytes, self.pairs, self.memory = bench.megabytes, [], 0.0
        for _ in range(rounds + 1):
            (ours, memory), curl = bench.ours(what), bench.curl(what)
            self.pairs.append((ours, curl))
            self.memory = max(self.memory, memory)
        del self.pairs[0]  # the first of each is of cold caches

    @property
    def ratios(self) -> list[float]:
        return sorted(curl / ours for ours, curl in self.pairs)

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    def cells(self) -> list[str]:
        speeds = [statistics.median(self.megabytes / pair[side] for pair in self.pairs) for side in (0, 1)]
        spread = f"{self.ratios[0]:.2f} to {self.ratios[-1]:.2f}"
        return [f"{speeds[0]:.0f}", f"{speeds[1]:.0f}", f"{self.ratio:.2f}", spread, f"{self.memory:.0f}"]


def write_export(folder: Path, megabytes: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "model.safetensors").open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1 << 20))


def measure_gateway(stack: ExitStack, folder: Path, server: Seaweed, megabytes: int) -> tuple[list[list[str]], float]:
    """Rows of the file and the tar, as the gateway sends them; the greatest resident size of it in MB."""
    port = free_port()
    command = [sys.executable, "-P", "-m", "cli.main", "gateway", "--port", str(port)]
    url = f"s3://{BUCKET}/gateway"
    os.environ.update(server.environment())
    gateway = stack.enter_context(
        serving(
            command, port, folder / "gateway.log", LAYERCUT_DATA_DIR=str(folder / "data"),
            LAYERCUT_MODEL_ROOTS=str(SOURCE), LAYERCUT_AUTH="off", LAYERCUT_ARTIFACTS_URL=url,
        )
    )  # fmt: skip
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600, trust_env=False) as client:
        job = finish_a_job(client, folder / "data", folder / "export", url)
        paths = {"the file": f"/v1/jobs/{job}/files/model.safetensors", "the tar": f"/v1/jobs/{job}/download"}
        rows = [[name, f"{megabytes / _seconds_of(client, path):.0f}"] for name, path in paths.items()]
    status = Path(f"/proc/{gateway.pid}/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return rows, int(peak.split()[1]) / 1024


def _seconds_of(client: httpx.Client, path: str) -> float:
    began = time.perf_counter()
    with client.stream("GET", path) as answer:
        answer.raise_for_status()
        for _ in answer.iter_raw(1 << 20):
            pass
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    if shutil.which("curl") is None:
        raise SystemExit("curl is not here: apt-get install curl")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="layercut-objects-")))
        at("SeaweedFS starts")
        figures = measure(stack, folder, stack.enter_context(seaweed()), quick)
    print(json.dumps(figures))


def measure(stack: ExitStack, folder: Path, server: Seaweed, quick: bool) -> dict[str, float]:
    table = Table("", "ours, MB/s", "curl, MB/s", "ours / curl", "spread of it", "our memory, MB")
    megabytes, rounds = MEGABYTES[quick], ROUNDS
    write_export(folder / "export", megabytes)
    straight = Bench(folder, server.environment(), megabytes)
    rows = {}
    for what in ("up", "down"):
        at(f"{megabytes} MB {what}: {rounds} rounds")
        rows[what] = Row(straight, what, rounds)
        table.add_row(f"{megabytes} MB {what}", *rows[what].cells())

    at("the gateway sends it")
    sent, gateway_memory = measure_gateway(stack, folder, server, megabytes)
    for name, speed in sent:
        table.add_row(f"the gateway sends {name}", speed, "", "", "", f"{gateway_memory:.0f}")

    port, small = free_port(), MEGABYTES[True]
    command = [sys.executable, str(RELAY), str(port), str(server.port), str(SHARE)]
    stack.enter_context(serving(command, port, folder / "relay.log"))
    write_export(folder / "export", small)
    relayed = {**server.environment(), "AWS_ENDPOINT": f"http://127.0.0.1:{port}"}
    relayed["AWS_ENDPOINT_URL"] = relayed["AWS_ENDPOINT"]
    for what in ("up", "down"):
        at(f"{small} MB {what}, {SHARE / 1e6:.0f} MB/s a connection")
        rows[f"{what}_shared"] = Row(Bench(folder, relayed, small), what, 2)
        table.add_row(f"{small} MB {what}, 20 MB/s a connection", *rows[f"{what}_shared"].cells())
    Console(width=120).print(table)
    return {
        "most_memory_mb": round(max(gateway_memory, *(row.memory for row in rows.values())), 1),
        **{f"{name}_over_curl": round(row.ratio, 2) for name, row in rows.items()},
    }


if __name__ == "__main__":
    main()
