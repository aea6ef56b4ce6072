"""`auto` against trying every way: the dev score that it gives up, and the training that it needs.

For each task and seed one baseline is trained, `auto` searches on it as in a job, and every way to drop as many layers
is recovered in full and scored on dev: the winner's recovery and those of the fixed strategies are among these. Some
are recovered twice, from one baseline with two training seeds: that is the noise. Two processes of one thread each.
Reads LAYERCUT_GLUE_DIR, or the hub. Ends with one line of JSON: `gap_points`, the dev score of the best way (by its
mean over the seeds) minus that of `auto`, mean over tasks and sizes; `step_share`, the steps of the search and of its
winner's recovery as a share of those of all ways.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from _minilm import SOURCE
from _progress import machine
from rich.console import Console
from rich.table import Table
from transformers import PreTrainedModel

from api_schemas.curves import searched_plan
from api_schemas.plans import make_plan
from api_schemas.pruning import PruneSpec
from api_schemas.requests import JobRequest, ModelRef
from api_schemas.strategies import STRATEGIES, Question, select_layers
from sources.model_folder import folder_of, read_facts
from workers.cache.folder import FolderCache
from workers.checkpoints.checkpoint import Checkpoints
from workers.runtime.loading import quiet_libraries
from workers.settings import WorkerSettings
from workers.stages.baseline import make_baseline
from workers.stages.forecast import expect
from workers.stages.job_cache import JobCache
from workers.stages.measure import score
from workers.stages.progress import ProgressReporter
from workers.stages.prune import prune
from workers.stages.recover import recover
from workers.stages.resolve import resolve_job
from workers.stages.run_context import RunContext
from workers.stages.search import search_layers
from workers.training.micro_batches import MicroBatches

FACTS = read_facts(folder_of(SOURCE, str(SOURCE)), ModelRef(id=str(SOURCE)))
FIXED = tuple(name for name, row in STRATEGIES.items() if row.kind == "fixed" and name != "random")

Layers = tuple[int, ...]


@dataclass(frozen=True)
class Grid:
    tasks: tuple[str, ...] = ("rte", "mrpc", "stsb")
    seeds: tuple[int, ...] = (1,)
    drops: tuple[int, ...] = (2,)
    rows: int = 2000
    #: Strategies whose way is recovered twice.
    again: tuple[str, ...] = ("top",)


QUICK = Grid(tasks=("mrpc",), seeds=(1,), drops=(1,), rows=96)
FULL = Grid(tasks=("rte", "mrpc", "stsb", "sst2"), seeds=(1, 2, 3), drops=(2, 3), again=("top", "alternate_odd"))
#: Added to the cell's seed for a second training.
SECOND = 1000


class Cell(NamedTuple):
    """A task, a training seed, and how many layers go."""

    task: str
    seed: int
    drop: int


class Found(NamedTuple):
    """What `auto` took."""

    cell: Cell
    dropped: Layers
    strategies: str
    steps: int
    seconds: float


class Tried(NamedTuple):
    """One way, recovered in full. ``again``: with another training seed."""

    cell: Cell
    dropped: Layers
    again: bool
    score: float
    steps: int
    seconds: float


class Prepared(NamedTuple):
    """A job up to its baseline."""

    context: RunContext
    source: PreTrainedModel
    baseline: PreTrainedModel


def prepare(cell: Cell, rows: int, folder: Path) -> Prepared:
    """Baselines and tokens are made once for all, in a cache in ``folder``."""
    settings = WorkerSettings(model_roots=[SOURCE.parent])
    request = JobRequest.model_validate({
        "model": str(SOURCE), "task": {"name": cell.task, "max_train_rows": rows},
        "prune": {"strategy": "auto", "drop": cell.drop}, "evaluation": {"seeds": [cell.seed]},
    })  # fmt: skip
    progress = ProgressReporter(lambda _: None)
    cache = JobCache(FolderCache(folder / "cache", settings.cache_bytes), progress)
    job = resolve_job(request, None, settings, cache, progress)
    out = Path(tempfile.mkdtemp(dir=folder))
    checkpoints = Checkpoints(out, attempt=1, every_seconds=3600.0, provenance=dict, tell=lambda *_, **__: None)
    context = RunContext(job, progress, cache, out, None, cell.seed, checkpoints, MicroBatches())
    expect(context)
    source = job.load(cell.seed).model
    baseline = make_baseline(context, source)
    assert baseline is not None
    return Prepared(context, source, baseline.model)


def search(cell: Cell, rows: int, folder: Path) -> Found:
    prepared = prepare(cell, rows, folder)
    began = time.perf_counter()
    found = search_layers(prepared.context, prepared.baseline).search
    assert found is not None
    plan, best = searched_plan(prepared.context.job.request.prune, FACTS, found), found.brackets[0].best
    return Found(cell, tuple(plan.dropped or ()), ", ".join(best.strategies), found.steps, time.perf_counter() - began)


def attempt(cell: Cell, rows: int, folder: Path, dropped: Layers, *, again: bool = False) -> Tried:
    prepared = prepare(cell, rows, folder)
    plan = make_plan(PruneSpec(strategy="explicit", drop_layers=list(dropped)), FACTS, seed=0)
    context = prepared.context.planned(plan).seeded(cell.seed + SECOND * again)
    began = time.perf_counter()
    after = prune(context, prepared.source, plan)
    recovered = recover(context, prepared.baseline, after)
    assert recovered is not None
    seconds = time.perf_counter() - began
    return Tried(
        cell,
        dropped,
        again,
        score(context, after, prepared.baseline).score or 0.0,
        recovered.result.steps,
        seconds,
    )


def run(grid: Grid, processes: int, folder: Path) -> tuple[list[Found], list[Tried]]:
    cells = [Cell(*key) for key in itertools.product(grid.tasks, grid.seeds, grid.drops)]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn, initializer=_alone) as pool:
        # The searches first: they leave the baselines that the others read.
        searches = [pool.submit(search, cell, grid.rows, folder) for cell in cells]
        attempts = [
            pool.submit(attempt, cell, grid.rows, folder, dropped)
            for cell in cells
            for dropped in itertools.combinations(range(FACTS.layers), cell.drop)
        ]
        attempts += [
            pool.submit(attempt, cell, grid.rows, folder, way_of(name, cell.drop), again=True)
            for cell in cells
            for name in grid.again
        ]
        made: list[Future[Found] | Future[Tried]] = [*searches, *attempts]
        for job in as_completed(made):
            print(*job.result(), sep="\t", file=sys.stderr, flush=True)
        return [job.result() for job in searches], [job.result() for job in attempts]


def way_of(strategy: str, drop: int) -> Layers:
    return tuple(select_layers(strategy, Question(FACTS.layers, drop)).dropped)


def _alone() -> None:
    torch.set_num_threads(1)
    quiet_libraries()


@dataclass(frozen=True)
class Row:
    """One task and size; scores are means over the seeds."""

    task: str
    drop: int
    best: float
    best_layers: Layers
    auto: float
    picks: list[Layers]
    rank: float
    noise: float
    fixed: dict[str, float]
    search_steps: int
    full_steps: int
    all_steps: int

    @property
    def gap(self) -> float:
        return self.best - self.auto

    @property
    def share(self) -> float:
        return (self.search_steps + self.full_steps) / self.all_steps


def row_of(task: str, drop: int, found: list[Found], tried: list[Tried]) -> Row:
    seeds = sorted({one.cell.seed for one in found})
    scores: dict[Layers, dict[int, float]] = defaultdict(dict)
    twice = {(one.cell.seed, one.dropped): one.score for one in tried if one.again}
    tried = [one for one in tried if not one.again]
    for one in tried:
        scores[one.dropped][one.cell.seed] = one.score
    means = {dropped: float(np.mean(list(by_seed.values()))) for dropped, by_seed in scores.items()}
    best = max(means, key=means.__getitem__)
    picks = {one.cell.seed: one.dropped for one in found}
    ranks = [1 + sum(by[seed] > scores[picks[seed]][seed] for by in scores.values()) for seed in seeds]
    differences = [other - scores[dropped][seed] for (seed, dropped), other in twice.items()]
    return Row(
        task=task,
        drop=drop,
        best=means[best],
        best_layers=best,
        auto=float(np.mean([scores[picks[seed]][seed] for seed in seeds])),
        picks=[picks[seed] for seed in seeds],
        rank=float(np.mean(ranks)),
        noise=float(np.sqrt(np.mean(np.square(differences)) / 2)),
        fixed={name: means[way_of(name, drop)] for name in FIXED},
        search_steps=sum(one.steps for one in found),
        full_steps=sum(one.steps for one in tried if one.dropped == picks[one.cell.seed]),
        all_steps=sum(one.steps for one in tried),
    )


def show(rows: list[Row]) -> None:
    console = Console(width=170)
    table = Table("task", "dropped", "best way", "its score", "auto's picks", "its score", "gap", "rank", "seed noise",
                  "steps: search", "winner", "all ways", "share")  # fmt: skip
    for row in rows:
        picks = " ".join(str(list(one)) for one in row.picks)
        table.add_row(
            row.task, str(row.drop), str(list(row.best_layers)), f"{row.best:.2f}", picks, f"{row.auto:.2f}",
            f"{row.gap:.2f}", f"{row.rank:.1f}", f"{row.noise:.2f}", str(row.search_steps), str(row.full_steps),
            str(row.all_steps), f"{row.share:.3f}",
        )  # fmt: skip
    console.print(table)
    fixed = Table("auto minus", *(f"{row.task}, {row.drop}" for row in rows), "mean", "worse by more than the noise in")
    for name in FIXED:
        leads = [row.auto - row.fixed[name] for row in rows]
        worse = sum(lead < -row.noise for lead, row in zip(leads, rows, strict=True))
        fixed.add_row(name, *(f"{lead:+.2f}" for lead in leads), f"{np.mean(leads):+.2f}", str(worse))
    console.print(fixed)
    console.print("scores are means over the seeds; noise: standard deviation of one training's score, see above")


def figures(rows: list[Row]) -> dict[str, float]:
    gap, share = np.mean([row.gap for row in rows]), np.mean([row.share for row in rows])
    return {"gap_points": round(float(gap), 3), "step_share": round(float(share), 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--quick", action="store_true", help="one layer of MRPC with 96 rows and one seed")
    choice.add_argument("--full", action="store_true", help="three seeds, SST-2, and three layers as well")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    asked = parser.parse_args()
    grid = QUICK if asked.quick else FULL if asked.full else Grid()
    machine()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        found, tried = run(grid, asked.processes, Path(folder))
    rows = [
        row_of(task, drop, [one for one in found if (one.cell.task, one.cell.drop) == (task, drop)],
               [one for one in tried if (one.cell.task, one.cell.drop) == (task, drop)])
        for task in grid.tasks for drop in grid.drops
    ]  # fmt: skip
    show(rows)
    print(f"{time.perf_counter() - began:.0f} s in all")
    print(json.dumps(figures(rows)))


if __name__ == "__main__":
    main()
