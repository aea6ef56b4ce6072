"""From `POST /v1/jobs` to the first optimizer step, on a warm worker with model and data cached. Goal: ≤ 1.5 s.

Starts `layercut serve` on a free port of 127.0.0.1 with a data folder of its own. One job puts tokens and baseline on
the cache. Then jobs are posted one at a time, each when the worker's next runner waits, and cancelled after their first
step. Two cases take turns: the baseline is in the cache, so the first step is the recovery's; or the seed is new, so it
is the baseline's. All rows of the task, from LAYERCUT_GLUE_DIR or the hub.

The clock stops when the first progress event that counts a step is written down: the step is done by then, and all that
lies between runner and store is counted. A watcher hears of it at the feed's next tick (LAYERCUT_FEED_SECONDS): that is
the last row.

Ends with one line of JSON: the median seconds, of the slower case.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from _minilm import SOURCE
from _progress import at, machine
from rich.console import Console
from rich.table import Table

TASK = "stsb"
ROUNDS = {True: 3, False: 10}
PATIENCE = 600.0

STEP, TOLD, SEEN = "first step", "POST to first step", "… to a watcher of the events"
#: A row of the table, and the event that ends it: how its type and message begin. In the order of the events.
MARKS = {
    "the gateway checks and stores it": "job.queued",
    "a worker wakes up and claims it": "job.started",
    "a runner takes it": "job.stage resolving",
    "model found, data read, tokens from the cache": "job.resolved every default",
    "model loaded": "job.stage baseline",
    "baseline from the cache": "job.resolved reused: baseline ",
    "layers chosen and dropped": "job.stage recovering",
    STEP: "job.progress",
}
ENDINGS = ("job.succeeded", "job.failed", "job.cancelled")

Times = dict[str, float]


class Server:
    """A running `layercut serve`."""

    def __init__(self, client: httpx.Client, log: Path) -> None:
        self.client, self._log = client, log
        self._runners = 0

    def await_runner(self) -> None:
        """Return when a runner waits that did not when this was last called."""
        pattern = re.compile(r"a runner waits for a job")
        self._runners += 1
        wait_for(lambda: len(pattern.findall(self._log.read_text())) >= self._runners)


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    log = folder / "serve.log"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LAYERCUT_")}
    glue = {name: os.environ[name] for name in ("LAYERCUT_GLUE_DIR",) if name in os.environ}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("layercut"), "serve", "--port", "0", "--data-dir", folder / "data"],
            env={**kept, **glue, "LAYERCUT_MODEL_ROOTS": str(SOURCE)},
            stdout=output,
            stderr=output,
        )
    try:
        address = wait_for(lambda: re.search(r"ready at (http://\S+)", log.read_text()))[1]
        with httpx.Client(base_url=address, trust_env=False, timeout=60) as client:
            yield Server(client, log)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def wait_for(found: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (answer := found()):
        if time.monotonic() > deadline:
            raise SystemExit("the server did not get ready in time: what it says is in its log")
        time.sleep(0.05)
    return answer


def request(seed: int) -> dict[str, Any]:
    """A twentieth of an epoch, so that the first job's baseline is soon trained."""
    return {
        "model": str(SOURCE),
        "task": TASK,
        "prune": {"strategy": "top", "drop": 2},
        "recovery": {"baseline_epochs": 0.05},
        "seed": seed,
        "evaluation": {"latency": {"batch_sizes": [], "sequence_lengths": []}},
    }


def watch(client: httpx.Client, job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The job's events as they come."""
    with client.stream("GET", job["urls"]["events"], headers={"Accept": "text/event-stream"}) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


def measure(server: Server, seed: int, stage: str) -> Times:
    """Seconds of each row of the table, for one job up to the first step of ``stage``."""
    server.await_runner()
    at(f"seed {seed}: to the first step of {stage}")
    sent, last, now = time.time(), time.time(), ""
    times: Times = {}
    job = server.client.post("/v1/jobs", json=request(seed)).raise_for_status().json()
    for event in watch(server.client, job):
        if event["type"] in ENDINGS:
            raise SystemExit(f"the job ended before its first step: {event['message']}")
        now = event["data"].get("stage", now)
        row = next((row for row in MARKS if marks(row, event)), None)
        if row is not None and row not in times:
            when = datetime.fromisoformat(event["created_at"]).timestamp()
            times[row], last = when - last, when
        if row == STEP and now == stage:
            break
    server.client.post(job["urls"]["cancel"]).raise_for_status()
    return {**times, TOLD: last - sent, SEEN: time.time() - sent}


def marks(row: str, event: dict[str, Any]) -> bool:
    told = f"{event['type']} {event['message']}"
    return told.startswith(MARKS[row]) and (row != STEP or event["data"].get("step") is not None)


def show(cases: dict[str, list[Times]]) -> None:
    table = Table(title=f"{TASK}, {SOURCE.parent.name}: median seconds of {len(next(iter(cases.values())))} jobs")
    table.add_column("")
    for name in cases:
        table.add_column(name, justify="right")
    for row in (*MARKS, TOLD, SEEN):
        cells = [[times[row] for times in jobs if row in times] for jobs in cases.values()]
        texts = [f"{statistics.median(cell):.3f}" if cell else "" for cell in cells]
        table.add_row(row, *texts, end_section=row == STEP)
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer jobs")
    rounds = ROUNDS[parser.parse_args().quick]
    machine()
    with tempfile.TemporaryDirectory(prefix="layercut-overhead-") as folder, serve(Path(folder)) as server:
        measure(server, 0, "recovering")  # puts tokens and baseline in the cache
        jobs = [
            (measure(server, 0, "recovering"), measure(server, number, "baseline")) for number in range(1, rounds + 1)
        ]
    entry, trained = map(list, zip(*jobs, strict=True))
    cases = {"baseline in the cache": entry, "baseline to be trained": trained}
    show(cases)
    slowest = max(statistics.median(times[TOLD] for times in runs) for runs in cases.values())
    print(json.dumps({"post_to_first_step_seconds": round(slowest, 3)}))


if __name__ == "__main__":
    main()
