"""What `recovery.effort` brings, and costs, for each kind of task: half of the layers gone, distilled.

Whole jobs of all-MiniLM-L6-v2, which differ in `recovery.effort` alone and share their baselines, seeds 1, 2 and 3. An
embedding model has no seeds to choose here: its own vectors are the baseline. *kept* is the score as a share of the
same seed's baseline: the mean, with its interval by Student's t at 95 %. Dev is read for the score alone. *seconds* are
those of the recovery, by seed. Data: `classification` SST-2, `regression` STS-B (of LAYERCUT_GLUE_DIR, or the hub),
`multi-label` the demo's tweets (their sentiment and what marks are in them), `token-classification` made-up names of
which only the sentence tells whether they are persons, places or companies, `embedding` the words of the tweets.

Ends with one line of JSON: the baseline's score, and kept, by kind and effort. After ``--minutes`` no job is begun.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _kind_data import label_sets, names, texts, tweets
from _progress import at, machine
from _whole_jobs import by_seed, half_interval, report_of
from rich.console import Console
from rich.table import Table

from workers.runtime.loading import quiet_libraries

DROP = 3
#: Rows that are kept for the score, of data that has no dev set of its own.
DEV = 1000
KINDS = ("token-classification", "multi-label", "classification", "regression", "embedding")
EFFORTS = ("quick", "standard", "high")


@dataclass(frozen=True)
class Asked:
    kinds: Sequence[str] = KINDS
    efforts: Sequence[str] = EFFORTS
    seeds: Sequence[int] = (1, 2, 3)
    rows: int = 2000
    baseline_batch: int | None = None
    minutes: float = 120.0


QUICK = Asked(kinds=("token-classification",), efforts=("quick", "standard"), seeds=(1,), rows=300)


@dataclass(frozen=True)
class Outcome:
    """``half`` is how far the ends of the interval are from ``kept``: None for one seed. Seconds of one recovery."""

    metric: str
    before: float
    kept: float
    half: float | None
    seconds: float


def tasks(folder: Path, rows: int) -> dict[str, dict[str, Any]]:
    found = tweets(folder)
    lines = texts(folder / "texts.txt", found)
    sets, more_sets = (
        label_sets(folder / f"sets{of.start}.csv", found, of) for of in (slice(0, DEV), slice(DEV, None))
    )
    tags, more_tags = names(folder / "dev.jsonl", DEV), names(folder / "train.jsonl", rows, seed=12)
    own = {"max_train_rows": rows, "text_columns": ["text"]}
    return {
        "token-classification": {"kind": "token-classification", "dataset": str(more_tags), "dev": str(tags),
                                 "label_column": "tags", **own},
        "multi-label": {"kind": "multi-label", "dataset": str(more_sets), "dev": str(sets), "label_column": "labels",
                        **own},
        "classification": {"name": "sst2", "max_train_rows": rows},
        "regression": {"name": "stsb", "max_train_rows": rows},
        "embedding": {"kind": "embedding", "dataset": str(lines), "max_train_rows": rows},
    }  # fmt: skip


def outcome(task: dict[str, Any], effort: str, seeds: Sequence[int], batch: int | None, home: Path) -> Outcome:
    body = {
        "task": task,
        "prune": {"drop": DROP},
        "recovery": {"effort": effort, "baseline_batch_size": "auto" if batch is None else batch},
        "evaluation": {"seeds": list(seeds), "latency": {"batch_sizes": []}},
    }
    report = report_of(body, home)
    before, after = (np.asarray(by_seed(report, side)) for side in ("before", "after"))
    shares = 100 * after / before
    seconds = report["training"]["recovering"]["seconds"]
    return Outcome(
        report["task"]["metric"], float(before.mean()), float(shares.mean()), half_interval(shares), seconds
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="taggers alone, 300 rows, one seed, two efforts")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=Asked.kinds)
    parser.add_argument("--efforts", nargs="+", choices=EFFORTS, default=Asked.efforts)
    parser.add_argument("--seeds", nargs="+", type=int, default=Asked.seeds)
    parser.add_argument("--rows", type=int, default=Asked.rows)
    parser.add_argument("--baseline-batch", type=int, help="of the baselines, in place of the default")
    parser.add_argument("--minutes", type=float, default=Asked.minutes)
    given = parser.parse_args()
    asked = QUICK if given.quick else Asked(**{name: value for name, value in vars(given).items() if name != "quick"})
    quiet_libraries()
    machine()
    began = time.perf_counter()
    table = Table(title=f"3 of 6 layers, {asked.rows} rows", box=None)
    for name in ("kind", "metric", "effort", "baseline", "kept, %", "±", "seconds"):
        table.add_column(name)
    told: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="layercut-efforts-") as home:
        known = tasks(Path(home), asked.rows)
        for kind in asked.kinds:
            for effort in asked.efforts:
                if time.perf_counter() - began > 60 * asked.minutes:
                    at(f"{kind}, {effort}: left out: the time is over")
                    continue
                seeds = asked.seeds if kind != "embedding" else asked.seeds[:1]
                found = outcome(known[kind], effort, seeds, asked.baseline_batch, Path(home))
                at(f"{kind}, {effort}: {found}")
                told.setdefault(kind, {"baseline": round(found.before, 2)})[effort] = round(found.kept, 2)
                half = "" if found.half is None else f"{found.half:.2f}"
                figures = (f"{found.before:.2f}", f"{found.kept:.2f}", half, f"{found.seconds:.0f}")
                table.add_row(kind, found.metric, effort, *figures)
    Console(file=sys.stderr, width=120).print(table)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
