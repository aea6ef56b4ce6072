"""Official GLUE metrics, times 100, from numpy arrays. One that has no value is None, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn import metrics as sk

from api_schemas.metrics import METRICS
from workers.evaluation.label_sums import label_sums, macro_f1, micro_f1

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class MetricLabels:
    """The task's labels, whether or not all of them occur: ``names`` in id order, empty for a regression. ``positive``
    is the id of the label that f1 is of; None where it is the mean of each label's.
    """

    names: tuple[str, ...] = ()
    positive: int | None = None

    def metric_of(self, metric: str) -> str | None:
        """Which label, or mean of labels, ``metric`` is of; None where it is of all rows alike."""
        if metric != "f1":
            return None
        return f"mean of {len(self.names)} labels" if self.positive is None else f"label {self.names[self.positive]!r}"

    def missing(self, metric: str, gold: Array) -> str | None:
        """A label that no row has, where ``metric`` counts it as much as any other."""
        if metric not in ("f1", "macro_f1") or self.positive is not None:
            return None
        counts = gold.sum(axis=0) if gold.ndim > 1 else np.bincount(gold, minlength=len(self.names))
        return None if counts.all() else self.names[int(counts.argmin())]


@dataclass(frozen=True)
class MetricValues:
    """0 to 100 (correlations and Matthews -100 to 100). ``undefined`` has the reason for each value that is None."""

    values: dict[str, float | None]
    undefined: dict[str, str] = field(default_factory=dict)


class Undefined(Exception):
    """Why a metric has no value on these rows."""


Function = Callable[[Array, Array, MetricLabels], float]


def _accuracy(gold: Array, guess: Array, labels: MetricLabels) -> float:
    return float(np.mean(gold == guess))


def _f1(gold: Array, guess: Array, labels: MetricLabels) -> float:
    positive = labels.positive
    if positive is not None and not ((gold == positive) | (guess == positive)).any():
        raise Undefined(f"no row has the label {labels.names[positive]!r}, and the model gives it to none")
    # The labels are named: scikit-learn would take those that occur, and another mean for each resample.
    of = range(len(labels.names)) if positive is None else [positive]
    return float(sk.f1_score(gold, guess, labels=list(of), average="macro", zero_division=0.0))


def _matthews(gold: Array, guess: Array, labels: MetricLabels) -> float:
    if np.ptp(gold) == 0:
        raise Undefined("all rows have the same label")
    return float(sk.matthews_corrcoef(gold, guess))


def _correlation(function: Callable[[Array, Array], Any]) -> Function:
    def score(gold: Array, guess: Array, labels: MetricLabels) -> float:
        if len(gold) < 2:
            raise Undefined("one row has no correlation")
        if not np.isfinite(guess).all():
            raise Undefined("the model answers with what is not a finite number")
        for values, reason in ((gold, "all rows have the same number"), (guess, "the model answers every row alike")):
            if np.ptp(values) <= ALIKE * np.abs(values).max():
                raise Undefined(reason)
        return float(function(gold.astype(np.float64), guess.astype(np.float64)).statistic)

    return score


def _micro_f1(gold: Array, guess: Array, labels: MetricLabels) -> float:
    """Of ``(N, C)`` 0 and 1."""
    if not (gold.any() or guess.any()):
        raise Undefined("no row has a label, and the model gives none")
    return float(micro_f1(label_sums(gold, guess).sum(axis=0)))


def _macro_f1(gold: Array, guess: Array, labels: MetricLabels) -> float:
    return float(macro_f1(label_sums(gold, guess).sum(axis=0)))


def _exact_match(gold: Array, guess: Array, labels: MetricLabels) -> float:
    return float((gold == guess).all(axis=1).mean())


def _entities(score: Callable[[int, int, int], tuple[int, int]], reason: str) -> Function:
    """Of ``(N,)`` entities that there are, and ``(N, 2)`` that are given, and are right. ``score``: a ratio's."""

    def share(gold: Array, guess: Array, labels: MetricLabels) -> float:
        part, whole = score(int(gold.sum()), *map(int, guess.sum(axis=0)))
        if not whole:
            raise Undefined(reason)
        return part / whole

    return share


def _mean(gold: Array, guess: Array, labels: MetricLabels) -> float:
    return float(_finite(guess).mean())


def _fifth_percentile(gold: Array, guess: Array, labels: MetricLabels) -> float:
    return float(np.percentile(_finite(guess), 5))


def _finite(values: Array) -> Array:
    if not np.isfinite(values).all():
        raise Undefined("the model answers with what is not a finite number")
    return values


#: A range that is this share of the largest number or less is rounding.
ALIKE = 1e-12

FUNCTIONS: dict[str, Function] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "matthews_correlation": _matthews,
    "pearson": _correlation(stats.pearsonr),
    "spearman": _correlation(stats.spearmanr),
    "micro_f1": _micro_f1,
    "macro_f1": _macro_f1,
    "exact_match": _exact_match,
    "entity_f1": _entities(
        lambda gold, given, right: (2 * right, gold + given), "no row has an entity or is given one"
    ),
    "entity_precision": _entities(lambda gold, given, right: (right, given), "the model finds no entity"),
    "entity_recall": _entities(lambda gold, given, right: (right, gold), "no row has an entity"),
    "cosine": _mean,
    "cosine_p5": _fifth_percentile,
    "neighbours": _mean,
}
assert FUNCTIONS.keys() == METRICS.keys(), "every row of METRICS has its function"


def score(names: Sequence[str], gold: Array, guess: Array, labels: MetricLabels) -> MetricValues:
    """Each metric over gold labels and predictions of ``N`` rows, as it takes them."""
    found = MetricValues({})
    for name in names:
        try:
            found.values[name] = 100 * FUNCTIONS[name](gold, guess, labels)
        except Undefined as reason:
            found.values[name] = None
            found.undefined[name] = str(reason)
    return found
