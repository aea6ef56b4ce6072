"""Scores of made-up answers, as the evaluation of a model leaves them."""

from __future__ import annotations

import numpy as np

from api_schemas.reports import Measurements
from workers.evaluation import metrics
from workers.evaluation.bootstrap import bootstrap
from workers.evaluation.by_seed import Pair, sides_of
from workers.evaluation.metrics import MetricLabels
from workers.evaluation.scores import Scores
from workers.evaluation.verdict import Comparison

TWO = MetricLabels(("no", "yes"), positive=1)
THREE = MetricLabels(("no", "yes", "rare"))


def scores(metric: str, gold: np.ndarray, guess: np.ndarray, labels: MetricLabels = TWO) -> Scores:
    found = metrics.score((metric,), gold, guess, labels)
    return Scores(found.values[metric], found.values, gold, guess, found.undefined)


def answers(gold: np.ndarray, right: float, seed: int) -> np.ndarray:
    """Of two labels: each answer is right with that probability."""
    return np.where(np.random.default_rng(seed).random(len(gold)) < right, gold, 1 - gold)


def compare(
    metric: str, pairs: dict[int, Pair], labels: MetricLabels = TWO, margin: float = 0.01
) -> Comparison:  # fmt: skip
    """What a report compares: the measurements of both sides, and the interval of their difference."""
    sides = [
        Measurements(
            parameters=1, bytes=1, score=side.spread.mean if side else None, scores=side.spread if side else None,
            metrics=side.metrics if side else {}, undefined=side.undefined if side else {},
        )
        for side in sides_of(pairs)
    ]  # fmt: skip
    both = [(before, after) for before, after in pairs.values() if before is not None]
    gold = next(iter(pairs.values()))[1].gold
    intervals = bootstrap(both, metric, labels, seed=1) if both else None
    return Comparison(sides[0], sides[1], metric, margin, len(gold), intervals, labels.missing(metric, gold))
