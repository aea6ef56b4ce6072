"""What text without labels brings: half of the layers gone, distilled on at most 2 000 labelled rows, without and with
`recovery.text`.

The text is pairs of MNLI's training set (premise and hypothesis, the labels left out), for tasks that read pairs: MRPC,
RTE and STS-B. Both sides are whole jobs, with the same baselines, and the same number of epochs: what comes along costs
its steps. *gain* is the mean difference of the score over the seeds, with its 95 % interval by Student's t; *kept* is
the score as a share of the baseline's. Tasks go one after the other; after ``--minutes`` none is begun any more.
Reads LAYERCUT_GLUE_DIR, or the hub. Ends with one line of JSON: kept (%) of both sides, and the gain, by task.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _progress import at, machine
from _whole_jobs import by_seed, half_interval, report_of
from rich.console import Console
from rich.table import Table

from api_schemas.tasks import TASKS
from sources.glue import read_glue
from sources.settings import SourceSettings
from workers.runtime.loading import quiet_libraries

DROP = 3


@dataclass(frozen=True)
class Asked:
    tasks: Sequence[str] = ("stsb", "mrpc", "rte")
    seeds: Sequence[int] = (1, 2, 3)
    rows: int = 2000
    text: int = 4000
    epochs: float = 3.0
    minutes: float = 60.0


QUICK = Asked(tasks=("stsb",), seeds=(1,), rows=100, text=100, epochs=1.0)


@dataclass(frozen=True)
class Side:
    """Of one task: the scores by seed, the baseline's, and the seconds of the job."""

    after: list[float]
    before: list[float]
    seconds: float

    @property
    def kept(self) -> float:
        return 100 * float(np.mean(self.after)) / float(np.mean(self.before))


def text_file(folder: Path, task: str, rows: int) -> Path:
    """A table of MNLI's pairs, under the names of the task's columns."""
    path = folder / f"{task}.csv"
    pairs = read_glue(TASKS["mnli"], "train", SourceSettings()).texts
    chosen = random.Random(42).sample(range(len(pairs)), min(rows, len(pairs)))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(TASKS[task].columns)
        writer.writerows(pairs[row] for row in chosen)
    return path


def job(asked: Asked, task: str, text: Path | None, home: Path) -> Side:
    more = {"text": {"dataset": str(text)}} if text else {}
    body: dict[str, Any] = {
        "task": {"name": task, "max_train_rows": asked.rows},
        "prune": {"strategy": "top", "drop": DROP},
        "recovery": {"epochs": asked.epochs, "baseline_epochs": 3.0, **more},
        "evaluation": {"seeds": list(asked.seeds), "latency": {"batch_sizes": []}},
    }
    began = time.perf_counter()
    report = report_of(body, home)
    return Side(by_seed(report, "after"), by_seed(report, "before"), time.perf_counter() - began)


def gain(own: Side, text: Side) -> tuple[float, float | None]:
    """In points, and how far the ends of its interval are; None for one seed."""
    differences = np.subtract(text.after, own.after)
    return float(differences.mean()), half_interval(differences.tolist())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="STS-B alone, 100 rows and texts, one seed and epoch")
    parser.add_argument("--tasks", nargs="+", default=Asked.tasks)
    parser.add_argument("--seeds", nargs="+", type=int, default=Asked.seeds)
    parser.add_argument("--rows", type=int, default=Asked.rows)
    parser.add_argument("--text", type=int, default=Asked.text)
    parser.add_argument("--epochs", type=float, default=Asked.epochs)
    parser.add_argument("--minutes", type=float, default=Asked.minutes)
    given = parser.parse_args()
    asked = QUICK if given.quick else Asked(**{name: value for name, value in vars(given).items() if name != "quick"})
    quiet_libraries()
    machine()
    began = time.perf_counter()
    table = Table(title=f"3 of 6 layers, {asked.rows} labelled rows, {asked.text} texts", box=None)
    for name in ("task", "own rows, kept %", "with text, kept %", "gain, points", "±", "seconds", "with text"):
        table.add_column(name)
    told: dict[str, dict[str, float | None]] = {}
    with tempfile.TemporaryDirectory() as home:
        for task in asked.tasks:
            if time.perf_counter() - began > 60 * asked.minutes:
                at(f"{task} is left out: the time is over")
                continue
            at(f"{task}: own rows")
            own = job(asked, task, None, Path(home))
            at(f"{task}: with text ({own.kept:.2f} % kept without)")
            more = job(asked, task, text_file(Path(home), task, asked.text), Path(home))
            mean, half = gain(own, more)
            told[task] = {"own": own.kept, "text": more.kept, "gain": mean, "half_interval": half}
            at(f"{task}: {told[task]}")
            figures = (own.kept, more.kept, mean, half, own.seconds, more.seconds)
            table.add_row(task, *("" if value is None else f"{value:.2f}" for value in figures))
    Console(file=sys.stderr, width=120).print(table)
    print(json.dumps({task: {k: v and round(v, 3) for k, v in row.items()} for task, row in told.items()}))


if __name__ == "__main__":
    main()
