"""The gateway against one bare FastAPI route, its streams, and a crowd.

1. *GET* of a queued job over connections that are kept open, by turns with `_bare_service.py`: uvicorn as it comes, and
   an `async def` route that returns the same body as a dict. One process each; where there are two cores, the servers
   have the first and the client the second. Goal: 0.40 of its requests a second. `CPU` is the same of the seconds that
   a server's process computes for a request, which a busy machine changes less.
2. *Streams*: 500 watchers of one job's events; how long until the last has a new one (the feed looks every
   LAYERCUT_FEED_SECONDS, 0.5), and until all are closed after SIGTERM. Goal: 1 second.
3. *Crowd*: 200 jobs posted by 20 clients, while 500 watch and 50 download 16 MB each; how long a GET takes meanwhile,
   and the most memory that the gateway has.

SQLite, files in a folder, no keys. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from _http_load import Answered, Load, Watchers, client, download, pinned, post, put_load
from _minilm import SOURCE
from _progress import at
from _servers import PATIENCE, free_port, serving
from rich.console import Console
from rich.table import Table

from api_schemas.events import EventType, LogData, SucceededData, new_event
from store.artifacts import ArtifactStore
from store.database import open_engine
from store.jobs import Claim, JobStore

ROUNDS, SECONDS = {True: 5, False: 15}, {True: 1.0, False: 3.0}
CONNECTIONS = (1, 8)
WATCHERS, POSTED, POSTERS, DOWNLOADS = 500, 200, 20, 50
FILE_BYTES = 16 * 2**20
#: How long the crowd is there at least.
CROWD_SECONDS = 5.0
GOAL = 0.40

BODY = json.dumps({"model": str(SOURCE), "task": "none", "prune": {"strategy": "top", "drop": 2}}).encode()
RESULT: dict[str, Any] = {
    "layers_total": 6, "layers_kept": [0, 1, 2, 3], "layers_dropped": [4, 5], "parameters_before": 2,
    "parameters_after": 1, "bytes_before": 2, "bytes_after": 1, "metric": None, "score_before": None,
    "score_after": None, "retention": None, "speedup": None, "verdict": "smaller",
}  # fmt: skip


@dataclass(frozen=True)
class Server:
    process: psutil.Process
    port: int

    @property
    def megabytes(self) -> float:
        return float(self.process.memory_info().rss) / 2**20

    @property
    def computed(self) -> float:
        """Seconds."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextmanager
def running(command: list[str], port: int, log: Path, **environment: str) -> Iterator[Server]:
    """A server on the first core, once it listens."""
    with serving(command, port, log, before=lambda: pinned(0), **environment) as process:
        yield Server(psutil.Process(process.pid), port)


class Gateway:
    """A gateway of its own, and what a worker would do beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        data = folder / "data"
        self._environment = {"LAYERCUT_DATA_DIR": str(data), "LAYERCUT_MODEL_ROOTS": str(SOURCE)}
        self._database, self.artifacts = f"sqlite:///{data}/layercut.db", ArtifactStore((data / "artifacts").as_uri())

    @contextmanager
    def running(self) -> Iterator[Server]:
        command = [sys.executable, "-P", "-m", "cli.main", "gateway", "--port", str(self.port)]
        path = os.pathsep.join(name for name in sys.path if name)
        with running(command, self.port, self.folder / "gateway.log", PYTHONPATH=path, **self._environment) as server:
            self.store = JobStore(open_engine(self._database))
            yield server

    def job(self) -> dict[str, Any]:
        return post(self.port, "/v1/jobs", BODY)

    def claim(self) -> Claim:
        claim = self.store.claim("benchmark")
        assert claim is not None
        return claim

    def tell(self, claim: Claim, message: str) -> None:
        self.store.record(claim.lease, new_event(EventType.LOG, message, LogData()))

    def succeed(self, claim: Claim) -> str:
        """Publish one file; its address."""
        export = self.folder / "export"
        export.mkdir()
        (export / "model.safetensors").write_bytes(os.urandom(FILE_BYTES))
        self.artifacts.publish(claim.lease.prefix, export)
        done = new_event(EventType.SUCCEEDED, "done", SucceededData.model_validate({"result": RESULT}))
        self.store.finish(claim.lease, done, claim.lease.prefix)
        return f"/v1/jobs/{claim.lease.job_id}/files/model.safetensors"


def compare(bare: Server, ours: Server, path: str, connections: int, quick: bool) -> dict[str, float]:
    """Requests a second of both, by turns."""
    at(f"GET over {connections} connections")
    rounds: list[tuple[float, float]] = []
    answers: list[Answered] = []
    with client() as process:

        def load(server: Server, seconds: float) -> tuple[Answered, float]:
            before = server.computed
            answered = process.submit(put_load, Load(server.port, path, connections, seconds)).result()
            return answered, (server.computed - before) / len(answered.waits)

        for server in (ours, bare):
            load(server, 0.5)
        for _ in range(ROUNDS[quick]):
            (mine, my_cpu), (theirs, their_cpu) = load(ours, SECONDS[quick]), load(bare, SECONDS[quick])
            rounds.append((mine.per_second / theirs.per_second, their_cpu / my_cpu))
            answers.append(mine)
    ratios, cpu = (sorted(column) for column in zip(*rounds, strict=True))
    return {
        "connections": connections,
        "per_second": round(statistics.median(answer.per_second for answer in answers)),
        "p50_ms": round(1e3 * statistics.median(answer.percentile(0.5) for answer in answers), 2),
        "p99_ms": round(1e3 * statistics.median(answer.percentile(0.99) for answer in answers), 2),
        "ratio": round(statistics.median(ratios), 3),
        "least": round(ratios[0], 3),
        "most": round(ratios[-1], 3),
        "cpu_ratio": round(statistics.median(cpu), 3),
    }


def post_some(port: int, count: int) -> set[str]:
    """The ids of so many jobs, posted one after the other."""
    return {post(port, "/v1/jobs", BODY)["id"] for _ in range(count)}


def measure_get(gateway: Gateway, quick: bool) -> list[dict[str, float]]:
    with gateway.running() as ours:
        path = [gateway.job() for _ in range(10)][-1]["urls"]["self"]
        body = gateway.folder / "body.json"
        body.write_bytes(httpx.get(f"http://127.0.0.1:{ours.port}{path}", trust_env=False).content)
        port, script = free_port(), Path(__file__).with_name("_bare_service.py")
        with running([sys.executable, str(script), str(port), str(body)], port, gateway.folder / "bare.log") as bare:
            return [compare(bare, ours, path, connections, quick) for connections in CONNECTIONS]


def measure_streams(gateway: Gateway) -> dict[str, float]:
    with gateway.running() as ours:
        job = gateway.job()
        while (claim := gateway.claim()).lease.job_id != job["id"]:
            pass
        at(f"{WATCHERS} watchers")
        before = ours.megabytes
        watchers = Watchers(ours.port, [job["urls"]["events"]] * WATCHERS)
        watchers.until_all_have(b"job.started")
        held = ours.megabytes - before
        seconds = []
        for number in range(5):
            gateway.tell(claim, f"number {number}")
            seconds.append(watchers.until_all_have(b"number %d" % number))
        at("SIGTERM")
        told = time.perf_counter()
        ours.process.send_signal(signal.SIGTERM)
        closed = watchers.until_all_are_closed()
        ours.process.wait(PATIENCE)
        ended = time.perf_counter() - told
    return {
        "watchers": WATCHERS,
        "kilobytes_each": round(held * 1024 / WATCHERS, 1),
        "event_to_last_seconds": round(statistics.median(seconds), 3),
        "closed_seconds": round(closed, 3),
        "ended_seconds": round(ended, 3),
    }


def measure_crowd(gateway: Gateway) -> dict[str, float]:
    with gateway.running() as ours:
        gateway.job()
        file = gateway.succeed(gateway.claim())
        first = gateway.job()
        at(f"{POSTED} jobs by {POSTERS} clients, {WATCHERS} watchers, {DOWNLOADS} downloads")
        watchers, stopped = Watchers(ours.port, [first["urls"]["events"]] * WATCHERS), threading.Event()
        watchers.until_all_have(b"job.queued")
        quiet = ours.megabytes
        peaks = [quiet]
        with client() as asker, ThreadPoolExecutor(POSTERS + DOWNLOADS + 1) as threads:
            threads.submit(watchers.read_on, stopped)
            asked = asker.submit(put_load, Load(ours.port, first["urls"]["self"], 4, CROWD_SECONDS))
            began = time.perf_counter()
            fetched = [threads.submit(download, ours.port, file) for _ in range(DOWNLOADS)]
            posted = [threads.submit(post_some, ours.port, POSTED // POSTERS) for _ in range(POSTERS)]
            under_way: list[Future[Any]] = [*posted, *fetched, asked]
            while not all(work.done() for work in under_way):
                peaks.append(ours.megabytes)
                time.sleep(0.05)
            took = time.perf_counter() - began
            assert {work.result() for work in fetched} == {FILE_BYTES}
            made = len(set().union(*(work.result() for work in posted)))
            stopped.set()
        kept = len(watchers)
        watchers.close()
    answered = asked.result()
    return {
        "jobs": made,
        "watchers_left": kept,
        "seconds": round(took, 2),
        "get_p50_ms": round(1e3 * answered.percentile(0.5), 1),
        "get_p99_ms": round(1e3 * answered.percentile(0.99), 1),
        "megabytes_quiet": round(quiet, 1),
        "megabytes_most": round(max(peaks), 1),
    }


def show(title: str, rows: list[dict[str, float]]) -> None:
    table = Table(title=title)
    for heading in rows[0]:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    quick = parser.parse_args().quick
    at(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")
    with tempfile.TemporaryDirectory(prefix="layercut-gateway-") as folder:
        gateway = Gateway(Path(folder))
        gets = measure_get(gateway, quick)
        streams, crowd = measure_streams(gateway), measure_crowd(gateway)
    show("GET of a queued job, against a bare FastAPI route", gets)
    show("streams", [streams])
    show("crowd", [crowd])
    print(json.dumps({"benchmark": "gateway", "goal_ratio": GOAL, "get": gets, "streams": streams, "crowd": crowd}))


if __name__ == "__main__":
    main()
