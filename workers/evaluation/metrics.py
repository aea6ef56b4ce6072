"""Official GLUE metrics, times 100, from numpy arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn import metrics as sk

from api_schemas.tasks import METRICS

Array = npt.NDArray[Any]


def _f1(gold: Array, guess: Array) -> float:
    binary = set(np.unique(gold)) <= {0, 1}
    return float(sk.f1_score(gold, guess, average="binary" if binary else "macro", zero_division=0.0))


def _accuracy(gold: Array, guess: Array) -> float:
    return float(np.mean(gold == guess))


def _correlation(function: Callable[[Array, Array], Any]) -> Callable[[Array, Array], float]:
    def score(gold: Array, guess: Array) -> float:
        # A model that always answers the same has no correlation: 0, not NaN.
        return float(function(gold, guess).statistic) if np.ptp(guess) > 0 and np.ptp(gold) > 0 else 0.0

    return score


FUNCTIONS: dict[str, Callable[[Array, Array], float]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "matthews_correlation": lambda gold, guess: float(sk.matthews_corrcoef(gold, guess)),
    "pearson": _correlation(stats.pearsonr),
    "spearman": _correlation(stats.spearmanr),
}
assert FUNCTIONS.keys() == METRICS.keys(), "every row of METRICS has its function"


def predictions(logits: Array, *, regression: bool) -> Array:
    """``(N, C)`` logits to ``(N,)`` label ids, or to the ``(N,)`` numbers of a regression."""
    return logits[:, 0] if regression else logits.argmax(axis=1)


def score(names: Sequence[str], gold: Array, guess: Array) -> dict[str, float]:
    """Each metric over ``(N,)`` gold labels and predictions, 0 to 100 (correlations -100 to 100)."""
    return {name: 100 * FUNCTIONS[name](gold, guess) for name in names}
