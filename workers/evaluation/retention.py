"""How much of the score is left, how sure that is, and one plain sentence about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from api_schemas.reports import Interval
from workers.evaluation.metrics import FUNCTIONS
from workers.evaluation.scores import Scores

RESAMPLES = 1000
CONFIDENCE = 0.95


def retention(before: float, after: float) -> float | None:
    """``after / before``; None where the baseline scored nothing, and a ratio would mean nothing."""
    return after / before if before > 0 else None


class Intervals(NamedTuple):
    """Of ``score after - score before`` in points, and of the retention; None where a ratio would mean nothing."""

    gain: Interval
    retention: Interval | None


def bootstrap(pairs: Sequence[tuple[Scores, Scores]], metric: str, *, seed: int) -> Intervals | None:
    """Percentile intervals over rows drawn together for all models; None for fewer than 2 rows.

    ``pairs`` are before and after, one pair a training seed. Paired, because the models see the same rows (Efron &
    Tibshirani 1993, §16). Each resample draws as many seeds as there are and then the rows, both with replacement, and
    takes the mean over the drawn seeds: the interval is of what another training on other rows would give.
    """
    gold = pairs[0][0].gold
    rows = len(gold)
    if rows < 2:
        return None
    draw, function = np.random.default_rng(seed), FUNCTIONS[metric]
    scores = np.empty((RESAMPLES, 2))
    for at in range(RESAMPLES):
        seeds = draw.integers(0, len(pairs), len(pairs))
        picked = draw.integers(0, rows, rows)
        each = [[function(gold[picked], side.guess[picked]) for side in pairs[one]] for one in seeds]
        scores[at] = np.mean(each, axis=0)
    was, now = scores.T
    return Intervals(_interval(100 * (now - was)), _interval(now / was) if (was > 0).all() else None)


def _interval(drawn: npt.NDArray[np.float64]) -> Interval:
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(low=float(low), high=float(high), confidence=CONFIDENCE, resamples=RESAMPLES)


def verdict(before: float | None, after: float | None, interval: Interval | None) -> str:
    """One sentence that a person can act on."""
    if after is None:
        return "not scored: nothing was trained, and the model has no head for the task"
    if before is None or interval is None:
        return f"scores {after:.2f}; there is no baseline to compare it with"
    gain = (
        f"{after - before:+.2f} points, {interval.confidence:.0%} interval {interval.low:+.2f} to {interval.high:+.2f}"
    )
    if interval.low > 0:
        return f"better than the baseline ({gain})"
    if interval.high < 0:
        return f"worse than the baseline ({gain})"
    return f"within noise of the baseline ({gain})"
