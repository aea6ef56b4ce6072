"""What jobs were expected to take, and what they took. Goal: within a factor of two, from a minute on.

Starts `layercut serve` on a free port of 127.0.0.1 with a data folder of its own: nothing is known of this machine but
what its worker measures when it has nothing to do. Then ten jobs of different kinds, one after another: each is asked
for with `validate_only` first, and then posted. So the first estimates go by matrices that were multiplied, and later
ones by the jobs before them. What a job took is from its start to its end, waiting left out. Reads STS-B, MRPC and
SST-2 of LAYERCUT_GLUE_DIR, or of the hub, and the tweets of the demo, from which labels for the other kinds are made.

Ends with one line of JSON: how many jobs were within a factor of two, of all and of those of a minute and more, and the
geometric mean and the largest of the ratios, whichever way.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from _kind_data import label_sets, names, texts, tweets
from _minilm import SOURCE
from _progress import at, machine
from rich.console import Console
from rich.table import Table

PATIENCE = 7200.0
LONG_SECONDS = 60.0
FACTOR = 2.0
#: Of a worker that was just started, so that it soon has time to measure.
POLL_SECONDS = 1.0
#: With a part of the data, so that ten jobs are done in half an hour on two cores.
TEXTS = 3000

Body = dict[str, Any]


class Done(NamedTuple):
    """Seconds, and tokens that were trained on."""

    name: str
    expected: float
    took: float
    expected_tokens: int
    tokens: int
    expected_memory: int
    memory: int
    basis: str

    @property
    def ratio(self) -> float:
        """Expected to took."""
        return self.expected / self.took


def glue(task: str, rows: int, drop: int = 2, strategy: str = "top", **recovery: Any) -> Body:
    prune = {"strategy": strategy, "drop": drop}
    return {"task": {"name": task, "max_train_rows": rows}, "prune": prune, "recovery": recovery}


def jobs(folder: Path) -> dict[str, Body]:
    """By name, in the order in which they are done."""
    table, sets, tags, lines = (folder / name for name in ("tweets.csv", "sets.csv", "tags.jsonl", "texts.txt"))
    own = {"text_columns": ["text"], "max_train_rows": 1000}
    top = {"strategy": "top", "drop": 2}
    return {
        "classification, distilled": glue("mrpc", 600, epochs=2),
        "pruning alone": {"task": "none", "prune": {"strategy": "symmetric", "drop": 2}},
        "regression, distilled": glue("stsb", 1500, 3, epochs=2),
        "classification, fine-tuned": glue("sst2", 4000, 3, method="finetune", epochs=1),
        "auto": glue("stsb", 600, strategy="auto", epochs=2),
        "greedy, quick": glue("mrpc", 400, strategy="greedy", effort="quick"),
        "own table, high": {
            "task": {**own, "dataset": str(table), "label_column": "sentiment", "max_train_rows": 300},
            "prune": top,
            "recovery": {"effort": "high"},
        },
        "multi-label": {
            "task": {**own, "dataset": str(sets), "label_column": "labels", "kind": "multi-label"},
            "prune": top,
        },
        "token-classification": {
            "task": {**own, "dataset": str(tags), "label_column": "tags", "kind": "token-classification"},
            "prune": top,
        },
        "embedding": {"task": {"dataset": str(lines), "kind": "embedding"}, "prune": top},
    }


#: Of `--quick`: the others are left out.
QUICK: dict[str, Body] = {
    "classification, distilled": glue("mrpc", 150, epochs=1),
    "pruning alone": {"task": "none", "prune": {"strategy": "symmetric", "drop": 2}},
    "regression, distilled": glue("stsb", 300, 3, epochs=1),
}


def write_data(folder: Path) -> None:
    """The demo's tweets, and three tables for the other kinds."""
    found = tweets(folder)
    label_sets(folder / "sets.csv", found)
    names(folder / "tags.jsonl", TEXTS)
    texts(folder / "texts.txt", found)


@contextmanager
def serve(folder: Path) -> Iterator[httpx.Client]:
    log = folder / "serve.log"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LAYERCUT_")}
    own = {
        "LAYERCUT_MODEL_ROOTS": str(SOURCE),
        "LAYERCUT_DATA_ROOTS": str(folder),
        "LAYERCUT_POLL_SECONDS": str(POLL_SECONDS),
        **{name: os.environ[name] for name in ("LAYERCUT_GLUE_DIR",) if name in os.environ},
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "serve", "--port", "0", "--data-dir", folder / "data"],
            env={**kept, **own},
            stdout=output,
            stderr=output,
        )
    try:
        address = wait_for(lambda: re.search(r"ready at (http://\S+)", log.read_text()))[1]
        with httpx.Client(base_url=address, trust_env=False, timeout=120) as client:
            wait_for(lambda: probed(client))
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def probed(client: httpx.Client) -> bool:
    """Whether a worker is there, and has measured what it can without a job."""
    found = client.get("/v1/workers").json()["data"]
    return any(worker["about"]["speeds"]["matmul"] for worker in found)


def wait_for(found: Callable[[], Any], seconds: float = 120.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (answer := found()):
        if time.monotonic() > deadline:
            raise SystemExit("the server did not get ready in time: what it says is in its log")
        time.sleep(0.2)
    return answer


def measure(client: httpx.Client, name: str, body: Body) -> Done | None:
    """None where the job is refused, or fails: then it is said, and it counts for nothing."""
    sent = {"model": str(SOURCE), **body}
    answer = client.post("/v1/jobs?validate_only=true", json=sent)
    if answer.is_error:
        at(f"{name}: refused: {answer.json()['detail']}")
        return None
    expected = answer.json()["estimate"]
    at(f"{name}: expected to take {60 * expected['minutes']:.0f} s, by {expected['basis']}")
    job = client.post("/v1/jobs", json=sent).raise_for_status().json()
    deadline = time.monotonic() + PATIENCE
    while job["finished_at"] is None and time.monotonic() < deadline:
        job = client.get(job["urls"]["self"], headers={"Prefer": "wait=30"}).raise_for_status().json()
    if job["status"] != "succeeded":
        at(f"{name}: {job['status']}: {(job['error'] or {}).get('message')}")
        return None
    begun, ended = (datetime.fromisoformat(job[when]) for when in ("started_at", "finished_at"))
    report = client.get(job["urls"]["report"]).raise_for_status().json()
    return Done(
        name=name,
        expected=60 * expected["minutes"],
        took=(ended - begun).total_seconds(),
        expected_tokens=expected["tokens"],
        tokens=sum(training["tokens"] for training in report["training"].values()),
        expected_memory=expected["memory_bytes"],
        memory=report["peak_memory_bytes"] or 0,
        basis=expected["basis"],
    )


def show(done: list[Done]) -> None:
    table = Table(title=f"{SOURCE.parent.name}: what was expected, and what it was")
    for column in ("job", "expected, s", "took, s", "ratio", "tokens", "memory", "by"):
        table.add_column(column, justify="left" if column in ("job", "by") else "right")
    for one in done:
        table.add_row(
            one.name, f"{one.expected:.0f}", f"{one.took:.0f}", f"{one.ratio:.2f}",
            f"{one.expected_tokens / one.tokens:.2f}" if one.tokens else "",
            f"{one.expected_memory / one.memory:.2f}" if one.memory else "", one.basis,
        )  # fmt: skip
    Console().print(table)


def figures(done: list[Done]) -> dict[str, Any]:
    long = [one for one in done if one.took >= LONG_SECONDS]
    off = [max(one.ratio, 1 / one.ratio) for one in done]
    return {
        "jobs": len(done),
        "within_2x": sum(factor <= FACTOR for factor in off),
        "long_jobs": len(long),
        "long_within_2x": sum(1 / FACTOR <= one.ratio <= FACTOR for one in long),
        "mean_ratio": round(math.exp(sum(math.log(one.ratio) for one in done) / len(done)), 3) if done else None,
        "largest_factor": round(max(off), 2) if off else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three short jobs")
    quick = parser.parse_args().quick
    machine()
    with tempfile.TemporaryDirectory(prefix="layercut-estimates-") as name:
        folder = Path(name)
        if not quick:
            write_data(folder)
        asked = QUICK if quick else jobs(folder)
        with serve(folder) as client:
            found = [measure(client, job, body) for job, body in asked.items()]
    done = [one for one in found if one is not None]
    show(done)
    print(json.dumps(figures(done)))


if __name__ == "__main__":
    main()
