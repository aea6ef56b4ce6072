"""What is left of a score when layers go: the paper's protocol, and layercut's default, on the same models and data.

`paper` drops from the pre-trained model and fine-tunes; `ours` drops from the baseline (the full model fine-tuned, by
which both are measured) and distils. Each column has its own learning rate from RATES, chosen for each task on a slice
of the training set with half of the layers gone; dev is read once for each cell. Two processes of one thread each do
more on two cores than one of two threads; times are sums over the processes. After ``--minutes`` no cell is begun any
more, and the table says how many are missing, the last seed's first. Reads LAYERCUT_GLUE_DIR, or the hub.
Ends with one line of JSON: mean retention (%) of each column with a third, and with half, of the layers gone.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import math
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from _minilm import SOURCE
from _progress import at, machine
from rich.console import Console
from rich.table import Table
from transformers import PreTrainedModel

from api_schemas.architectures import ARCHITECTURES
from api_schemas.recovery import Recovery, RecoverySpec, protocol_rate, resolve_recovery
from api_schemas.requests import ModelRef
from api_schemas.strategies import Question, select_layers
from api_schemas.task_spec import TaskSpec
from sources.model_folder import folder_of, read_facts
from sources.settings import SourceSettings
from sources.tasks import TaskData, load_task
from workers.data.features import Features, encode
from workers.evaluation.metrics import MetricLabels
from workers.evaluation.scores import answers_of, evaluate
from workers.kinds.kind import Kind
from workers.kinds.table import plain_kind
from workers.pruning.surgery import drop_layers
from workers.runtime.device import choose_device
from workers.runtime.loading import load_for_task, load_tokenizer, quiet_libraries
from workers.training.loop import train
from workers.training.objectives.distillation import distillation
from workers.training.objectives.losses import label_objective
from workers.training.trainer_state import TrainResult

FACTS = read_facts(folder_of(SOURCE, str(SOURCE)), ModelRef(id=str(SOURCE)))
ARCHITECTURE = ARCHITECTURES[FACTS.architecture]
DEVICE = choose_device("auto")
ROWS = {"sst2": 5000}
#: None higher: on the slice, where steps are few, 4.5e-4 is best for some, and in full it comes apart (STS-B).
RATES = (5e-5, 1e-4, 2e-4)
#: Rows that a rate is chosen with: to learn from, and to be scored on.
LEARN, JUDGE = 1000, 500
#: What another rate must be better by there than the service's own, for less is noise: points of score where labels are
#: learnt, and the share of the distance to the baseline's answers where those are.
CLEARLY, NEARER = 1.0, 0.2
#: The one of RATES that is nearest to what the service takes by itself, for a model of this shape.
OWN_RATE = min(RATES, key=lambda rate: abs(math.log(rate / protocol_rate(FACTS.hidden_size, FACTS.layers))))
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
    minutes: float = 57.0

    @property
    def cells(self) -> int:
        """Beside the baselines."""
        parts = (self.tasks, self.seeds, self.sizes, self.strategies, self.columns)
        return math.prod(len(part) for part in parts)


QUICK = Grid(tasks=("mrpc",), seeds=(1,), sizes=("half",), strategies=("top",), rates=(1e-4,), rows=320)
FULL = Grid(
    seeds=(1, 2, 3), strategies=("top", "alternate_odd", "symmetric"), columns=("paper", "ours", "tuned baseline"),
    minutes=math.inf,
)  # fmt: skip


class Cost(NamedTuple):
    """Of a training; ``examples`` are those that it learnt from, each as often as it came."""

    steps: int
    examples: int
    seconds: float

    @classmethod
    def of(cls, made: TrainResult, seconds: float) -> Cost:
        return cls(made.steps, made.examples, seconds)


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
    examples: int
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
        shape = plain_kind(data.kind, data.label_names).shape
        tokens = partial(encode, tokenizer, max_length=128, shape=shape)
        dev = {split: tokens(part) for split, part in data.dev.items()}
        return cls(task, data, tokens(data.train), dev, tokenizer.all_special_ids)

    @property
    def kind(self) -> Kind:
        return plain_kind(self.data.kind, self.data.label_names)

    def slices(self) -> Lab:
        """The same with a part of the training rows for dev."""
        order = np.random.default_rng(7).permutation(len(self.train))
        judged, learnt = np.sort(order[:JUDGE]), np.sort(order[JUDGE : JUDGE + LEARN])
        return Lab(self.task, self.data, self.train.take(learnt), {"slice": self.train.take(judged)}, self.special)

    def fresh(self, seed: int) -> PreTrainedModel:
        return load_for_task(SOURCE, self.kind.head, seed=seed, mean=self.data.label_mean)

    def recovery(self, method: str, rate: float) -> Recovery:
        return resolve_recovery(RecoverySpec(method=method, learning_rate=rate), FACTS, kind=self.kind.row)  # type: ignore[arg-type]

    def score(self, model: PreTrainedModel) -> float:
        data = self.data
        labels = MetricLabels(data.label_names, data.positive)
        found = evaluate(self.kind, model, self.dev, data.metrics, labels, device=DEVICE)
        return found.score or 0.0  # a score that is not defined is worth nothing

    def tuned(self, model: PreTrainedModel, rate: float, seed: int) -> Cost:
        """Fine-tune in place."""
        began, recovery = time.perf_counter(), self.recovery("finetune", rate)
        objective = label_objective(self.kind, self.train, DEVICE)
        made = train(self.kind, model, self.train, objective, recovery, seed=seed, device=DEVICE, on_step=_nothing)
        return Cost.of(made, time.perf_counter() - began)

    def distilled(
        self, model: PreTrainedModel, baseline: PreTrainedModel, kept: list[int], rate: float, seed: int
    ) -> Cost:
        """Distil in place."""
        began, recovery = time.perf_counter(), self.recovery("distill", rate)
        answers = partial(answers_of, self.kind, baseline, self.train, DEVICE)
        with distillation(
            self.kind, baseline, self.train, recovery, kept=kept, special=self.special, answers=answers, device=DEVICE
        ) as objective:
            made = train(self.kind, model, self.train, objective, recovery, seed=seed, device=DEVICE, on_step=_nothing)
        return Cost.of(made, time.perf_counter() - began)

    def made(
        self, column: str, baseline: PreTrainedModel, strategy: str, size: str, seed: int
    ) -> tuple[PreTrainedModel, Cost]:
        """The model of a cell."""
        kept = select_layers(strategy, Question(FACTS.layers, SIZES[size])).kept
        model = self.fresh(seed) if column == "paper" else copy.deepcopy(baseline)
        drop_layers(model, ARCHITECTURE, kept)
        rate = self.rates[column]
        if column == "ours":
            return model, self.distilled(model, baseline, kept, rate, seed)
        return model, self.tuned(model, rate, seed)

    def run(self, column: str, baseline: PreTrainedModel, strategy: str, size: str, seed: int) -> Cell:
        model, cost = self.made(column, baseline, strategy, size, seed)
        return Cell(self.task, seed, size, strategy, column, self.rates[column], self.score(model), *cost)

    def apart(self, baseline: PreTrainedModel, model: PreTrainedModel) -> float:
        """How far the model's answers on dev are from the baseline's."""
        (rows,) = self.dev.values()
        before, after = (answers_of(self.kind, one, rows, DEVICE) for one in (baseline, model))
        return float(self.kind.distances(before, after, rows).mean())

    def baseline(self, seed: int) -> tuple[PreTrainedModel, Cell]:
        model, rate = self.fresh(seed), self.rates["baseline"]
        cost = self.tuned(model, rate, seed)
        return model, Cell(self.task, seed, "", "", "baseline", rate, self.score(model), *cost)


def _nothing(_: Any) -> None:
    pass


def choose(task: str, grid: Grid) -> dict[str, float]:
    """The rate of each column on the slice. By the score where labels are learnt; where the baseline is, by how far the
    answers are from its own, which is far less noisy on a few hundred rows.
    """
    if len(grid.rates) == 1:
        return dict.fromkeys(("baseline", *grid.columns), grid.rates[0])
    lab, seed = Lab.of(task, grid.rows).slices(), grid.seeds[0]
    baselines: dict[float, PreTrainedModel] = {}
    scores: dict[float, float] = {}
    for rate in grid.rates:
        lab.rates["baseline"] = rate
        baselines[rate], cell = lab.baseline(seed)
        scores[rate] = cell.score
    found = {"baseline": clear_best(scores, CLEARLY)}
    baseline = baselines[found["baseline"]]
    for column in grid.columns:
        for rate in grid.rates:
            lab.rates[column] = rate
            model, _ = lab.made(column, baseline, "top", "half", seed)
            scores[rate] = -lab.apart(baseline, model) if column == "ours" else lab.score(model)
        lead = NEARER * abs(scores[OWN_RATE]) if column == "ours" else CLEARLY
        found[column] = clear_best(scores, lead)
    return found


def clear_best(scores: dict[float, float], lead: float) -> float:
    """OWN_RATE, where none is better than it by ``lead``."""
    best = max(scores, key=scores.__getitem__)
    return best if scores[best] >= scores[OWN_RATE] + lead else OWN_RATE


def measure(task: str, seed: int, grid: Grid, rates: dict[str, float], until: float) -> list[Cell]:
    """The cells of the task and seed, on dev; those that a clock at ``until`` leaves time for. All columns or none."""
    lab = Lab.of(task, grid.rows)
    lab.rates = rates
    at(f"{task}, seed {seed}: the baseline at {rates['baseline']:g}")
    if time.time() > until:
        return []
    baseline, cell = lab.baseline(seed)
    cells, longest = [cell], 0.0
    for size, strategy in itertools.product(grid.sizes, grid.strategies):
        began = time.time()
        if began + longest > until:
            break
        cells += [lab.run(column, baseline, strategy, size, seed) for column in grid.columns]
        longest = max(longest, time.time() - began)
    return cells


def run(grid: Grid, processes: int) -> list[Cell]:
    until = time.time() + 60 * grid.minutes
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn, initializer=_alone) as pool:
        at(f"rates for {', '.join(grid.tasks)}, on slices of their training rows")
        chosen = {task: pool.submit(choose, task, grid) for task in grid.tasks}
        # One seed after the other, the slowest task first: a run that is stopped early has said something whole.
        jobs = [
            pool.submit(measure, t, seed, grid, chosen[t].result(), until) for seed in grid.seeds for t in grid.tasks
        ]
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
    for task, size, strategy in itertools.product(grid.tasks, grid.sizes, grid.strategies):
        full = [cell for cell in cells if (cell.task, cell.column) == (task, "baseline")]
        part = [cell for cell in cells if (cell.task, cell.size, cell.strategy) == (task, size, strategy)]
        if part:
            columns = [_told(full, [cell for cell in part if cell.column == name], size) for name in grid.columns]
            table.add_row(task, strategy, size, f"{_mean(full):.2f} @ {full[0].rate:g}", *columns)
    console.print(table)
    console.print(_costs(cells, grid))
    missing = grid.cells - sum(cell.column != "baseline" for cell in cells)
    if missing:
        console.print(f"{missing} of {grid.cells} cells are missing, for want of time: see --minutes")
    console.print(f"{len(grid.seeds)} seeds; ours needs the baseline as well, which a platform makes once for all jobs")


def _told(full: list[Cell], own: list[Cell], size: str) -> str:
    return f"{_mean(own):.2f} @ {own[0].rate:g}, {retention([*full, *own], own[0].column, size):.1f} %"


def _mean(cells: list[Cell]) -> float:
    return float(np.mean([cell.score for cell in cells]))


def _costs(cells: list[Cell], grid: Grid) -> Table:
    """What each column took, so that none wins by training longer without saying so."""
    table = Table("column", "trainings", "optimizer steps", "examples", "seconds of training", *grid.sizes)
    for column in ("baseline", *grid.columns):
        own = [cell for cell in cells if cell.column == column]
        means = [f"{retention(cells, column, size):.2f} %" for size in grid.sizes if column != "baseline"]
        table.add_row(
            column, str(len(own)), str(sum(cell.steps for cell in own)), str(sum(cell.examples for cell in own)),
            f"{sum(cell.seconds for cell in own):.0f}", *means,
        )  # fmt: skip
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--quick", action="store_true", help="one cell of MRPC with 320 rows and one rate")
    choice.add_argument("--full", action="store_true", help="three seeds, symmetric, fine-tuning from the baseline")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--minutes", type=float, help="57; without end with --full")
    asked = parser.parse_args()
    grid = QUICK if asked.quick else FULL if asked.full else Grid()
    grid = replace(grid, minutes=asked.minutes or grid.minutes)
    machine()
    began = time.perf_counter()
    cells = run(grid, asked.processes)
    show(cells, grid)
    print(f"{time.perf_counter() - began:.0f} s in all")
    print(json.dumps({
        size: {column: round(retention(cells, column, size), 2) for column in grid.columns} for size in grid.sizes
    }))  # fmt: skip


if __name__ == "__main__":
    main()
