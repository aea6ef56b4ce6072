"""How often a verdict is wrong: baselines and pruned models whose true difference is known, scored on drawn rows.

For each metric a population of 50 000 rows is made, in which the pruned model loses exactly the margin (1 % of the
baseline's score), or nothing. Rows are drawn from it, and the verdict on them is taken as a job takes it. Where the
margin is really lost, a verdict that says `kept` or `better` is wrong: in at most 5 % of the draws. Where nothing is
lost, `kept` or `better` is right, and the share says how much so many rows can tell.

- *few*: the models differ only in the answers that are lost. *many*: they differ in a tenth of the rows, both ways.
- *rare*: only answers to the rarest label are lost. *seeds*: *many*, three training seeds that lose unlike shares.
- F1 of 10 % positives, macro F1 and Matthews of three labels of 60, 30 and 10 %.

Ends with one line of JSON: `kept_in_error`, the largest share of wrong verdicts.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from _progress import at
from rich.console import Console
from rich.table import Table

from workers.evaluation.bootstrap import bootstrap
from workers.evaluation.metrics import MetricLabels
from workers.evaluation.scores import Scores
from workers.evaluation.verdict import outcome_of
from workers.evaluation.weighted import pool

Array = npt.NDArray[Any]

POPULATION = 50_000
MARGIN = 0.01
RIGHT = 0.9
CHURN = 0.05
#: Training seeds to draw three from, and the share of the margin that they lose, evenly between these.
SEEDS, SEED_LOSS = 12, (0.0, 2.0)
#: Where the margin is lost, and where nothing is.
DRAWS = {True: (100, 20), False: (2000, 200)}
#: Of a job's 2 000: fewer make an end of the interval less steady, and errors no rarer.
RESAMPLES = 500
ROWS = {True: (100, 1000), False: (100, 277, 1000, 5000)}


@dataclass(frozen=True)
class Case:
    metric: str
    labels: MetricLabels
    shares: tuple[float, ...] = ()
    regimes: tuple[str, ...] = ("few", "many")


def case(metric: str, *shares: float, positive: int | None = None, more: tuple[str, ...] = ()) -> Case:
    names = tuple(f"label {number}" for number in range(len(shares)))
    return Case(metric, MetricLabels(names, positive), shares, ("few", "many", *more))


CASES = {
    "accuracy": case("accuracy", 0.5, 0.5, more=("seeds",)),
    "f1, binary": case("f1", 0.9, 0.1, positive=1, more=("rare",)),
    "f1, macro": case("f1", 0.6, 0.3, 0.1, more=("rare",)),
    "matthews": case("matthews_correlation", 0.6, 0.3, 0.1, more=("rare",)),
    "pearson": case("pearson", more=("seeds",)),
    "spearman": case("spearman"),
}


@dataclass(frozen=True)
class Population:
    """``guesses`` ``(seeds, 2, POPULATION)``, before and after."""

    gold: Array
    guesses: Array


@dataclass(frozen=True)
class Cell:
    name: str
    regime: str
    rows: int
    lost: bool


def populate(case: Case, regime: str, *, lost: bool) -> Population:
    """``lost``: the margin, on the mean over the seeds; else nothing."""
    rng = np.random.default_rng(1)
    shares = np.linspace(*SEED_LOSS, SEEDS) if regime == "seeds" else np.ones(1)
    gold, models = (_numbers if not case.shares else _labels)(case, regime, len(shares), rng)

    def guesses(amount: float) -> Array:
        return np.array(
            [[before, spoil(amount * share)] for share, (before, spoil) in zip(shares, models, strict=True)]
        )

    if not lost and regime in ("few", "rare"):
        return Population(gold, guesses(0.0))
    goal = -MARGIN if lost else 0.0
    low, high = 0.0, 1.0
    for _ in range(18):
        middle = (low + high) / 2
        scores = np.mean([values(case, gold, pair[None])[0] for pair in guesses(middle)], axis=0)
        low, high = (middle, high) if scores[1] / scores[0] - 1 > goal else (low, middle)
    return Population(gold, guesses(high))


#: A baseline's answers, and those of a pruned model that has more lost the larger the number, from 0 to 1.
Model = tuple[Array, Callable[[float], Array]]


@dataclass(frozen=True)
class Losses:
    """Answers ``before``, of which the ``right`` ones with the smallest numbers in ``order`` become ``wrong``."""

    before: Array
    right: Array
    wrong: Array
    order: Array

    def __call__(self, amount: float) -> Array:
        return np.where(self.right & (self.order < amount), self.wrong, self.before)


@dataclass(frozen=True)
class Blur:
    guess: Array
    noise: Array

    def __call__(self, amount: float) -> Array:
        # What a correlation loses goes with the square of the noise: so that it goes with the amount.
        return np.asarray(self.guess + 4 * np.sqrt(amount) * self.noise)


def _labels(case: Case, regime: str, seeds: int, rng: np.random.Generator) -> tuple[Array, list[Model]]:
    count = len(case.shares)
    gold = rng.choice(count, POPULATION, p=case.shares)
    rarest = int(np.argmin(case.shares))
    models: list[Model] = []
    for _ in range(seeds):
        wrong = (gold + rng.integers(1, count, POPULATION)) % count
        before = np.where(rng.random(POPULATION) < RIGHT, gold, wrong)
        order = rng.random(POPULATION)
        if regime == "rare":
            order[gold != rarest] = 2.0
        won = (before != gold) & (rng.random(POPULATION) < CHURN / (1 - RIGHT) * (regime in ("many", "seeds")))
        models.append((before, Losses(np.where(won, gold, before), before == gold, wrong, order)))
    return gold, models


def _numbers(case: Case, regime: str, seeds: int, rng: np.random.Generator) -> tuple[Array, list[Model]]:
    """As of sentence similarity: gold numbers from 0 to 5 in steps of 0.2, and a correlation of 0.87."""
    gold = np.round(rng.random(POPULATION) * 25) / 5
    models: list[Model] = []
    for _ in range(seeds):
        before = gold + rng.normal(scale=0.82, size=POPULATION)
        # A lost answer is one to another row.
        wrong, order = rng.permutation(before), rng.random(POPULATION)
        if regime == "few":
            models.append((before, Losses(before, np.ones(POPULATION, bool), wrong, order)))
        else:
            own = gold + rng.normal(scale=0.82, size=POPULATION)
            models.append((before, Blur(before + 0.3 * (own - before), rng.normal(size=POPULATION))))
    return gold, models


def values(case: Case, gold: Array, guesses: Array) -> Array:
    """``(seeds, 2)`` of ``guesses`` ``(seeds, 2, N)``."""
    pooled = pool(case.metric, gold, guesses, case.labels)
    return np.asarray(pooled.metric(pooled.sums(pooled.shape[None]))[..., 0])


def judge(case: Case, population: Population, rows: int, rng: np.random.Generator) -> str:
    drawn = rng.integers(0, POPULATION, rows)
    seeds = rng.choice(len(population.guesses), 3) if len(population.guesses) > 1 else [0]
    gold, guesses = population.gold[drawn], population.guesses[seeds][:, :, drawn]
    found = values(case, gold, guesses)
    pairs = [
        (Scores(100 * score[0], {}, gold, guess[0]), Scores(100 * score[1], {}, gold, guess[1]))
        for score, guess in zip(found, guesses, strict=True)
    ]
    intervals = bootstrap(pairs, case.metric, case.labels, seed=int(rng.integers(2**31)), resamples=RESAMPLES)
    before = 100 * found[:, 0].mean()
    return "undecided" if intervals is None or before <= 0 else outcome_of(intervals.gain, MARGIN * before)


def count(cells: list[Cell], draws: tuple[int, int]) -> list[Counter[str]]:
    """``cells`` are of one population."""
    first = cells[0]
    drawn = range(draws[0] if first.lost else draws[1])
    population = populate(CASES[first.name], first.regime, lost=first.lost)
    rng = np.random.default_rng(2)
    return [Counter(judge(CASES[cell.name], population, cell.rows, rng) for _ in drawn) for cell in cells]


def grid(sizes: tuple[int, ...], names: list[str]) -> Iterator[list[Cell]]:
    for name in names:
        for regime, lost in product(CASES[name].regimes, (True, False)):
            yield [Cell(name, regime, rows, lost) for rows in sizes]


def show(found: dict[Cell, Counter[str]]) -> None:
    table = Table(title=f"shares of the draws, margin {MARGIN:.0%} of the baseline's score")
    for heading in ("metric", "differences"):
        table.add_column(heading)
    for heading in ("rows", "kept in error", "lost, rightly", "kept, nothing lost", "lost in error"):
        table.add_column(heading, justify="right")
    for cell, outcomes in found.items():
        if cell.lost:
            same = found[replace(cell, lost=False)]
            figures = (kept(outcomes), share(outcomes, "lost"), kept(same), share(same, "lost"))
            table.add_row(cell.name, cell.regime, str(cell.rows), *(f"{figure:.1%}" for figure in figures))
    Console(width=120).print(table)


def kept(outcomes: Counter[str]) -> float:
    return share(outcomes, "kept", "better")


def share(outcomes: Counter[str], *which: str) -> float:
    return sum(outcomes[outcome] for outcome in which) / outcomes.total()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer draws and sizes")
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES), help="these metrics")
    given = parser.parse_args()
    quick = given.quick
    found: dict[Cell, Counter[str]] = {}
    populations = list(grid(ROWS[quick], given.only))
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as processes:
        counted = processes.map(partial(count, draws=DRAWS[quick]), populations)
        for cells, outcomes in zip(populations, counted, strict=True):
            found |= dict(zip(cells, outcomes, strict=True))
            shares = ", ".join(f"{kept(each):.1%} of {cell.rows}" for cell, each in zip(cells, outcomes, strict=True))
            first = cells[0]
            at(f"{first.name}, {first.regime}, {'the margin' if first.lost else 'nothing'} lost: kept in {shares} rows")
    show(found)
    worst = max(kept(outcomes) for cell, outcomes in found.items() if cell.lost)
    print(json.dumps({"kept_in_error": round(worst, 4)}))


if __name__ == "__main__":
    main()
