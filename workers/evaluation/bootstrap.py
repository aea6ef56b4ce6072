"""How far the difference of two scores may be from the true one: a Bayesian bootstrap, careful about what did not
happen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from api_schemas.reports import Interval
from workers.evaluation.metrics import MetricLabels
from workers.evaluation.scores import Scores
from workers.evaluation.weighted import Array, Pool, pool

RESAMPLES = 2000
CONFIDENCE = 0.95
#: Numbers that the weights, or the sums, of one chunk of resamples take at most.
CHUNK = 4_000_000


class Reach(NamedTuple):
    """How far one end of the gain's interval is from the point, in points, and what it comes from: the ``rows`` (falls
    with their root), the ``seeds`` (no matter how many rows), what was not seen (``unseen``, falls with the rows).
    """

    rows: float
    seeds: float
    unseen: float


class Intervals(NamedTuple):
    """Of ``score after - score before`` in points, and of the retention; None where a ratio would mean nothing."""

    gain: Interval
    retention: Interval | None
    down: Reach
    up: Reach


class _Draws(NamedTuple):
    """``(D,)`` each: the baseline's score, the gain, and the gain without what the seeds add."""

    before: Array
    gain: Array
    mean: Array


def bootstrap(
    pairs: Sequence[tuple[Scores, Scores]], metric: str, labels: MetricLabels, *, seed: int, resamples: int = RESAMPLES
) -> Intervals | None:
    """None for fewer than 2 rows, and where a score is not defined.

    ``pairs`` are before and after, one pair a training seed. Each resample weights the rows, the same for all models,
    by draws from Exp(1) (Rubin 1981). Resampling cannot see what did not happen: where two models agree on 100 rows it
    is sure of no loss. So the low end is of resamples with one more row of random weight, which is lost, where that
    costs most, and the high end of resamples with one that is won: for differences one way this is the interval of
    Clopper and Pearson, for classes that weigh differently that of Fay and Feuer (1997). The seeds are taken for a
    sample of all, by Student's t: the interval is of what another training on other rows would give.
    """
    gold = pairs[0][0].gold
    if len(gold) < 2 or any(side.score is None for pair in pairs for side in pair):
        return None
    pooled = pool(metric, gold, np.array([[side.guess for side in pair] for pair in pairs]), labels)
    plain, lost, won = (
        _Draws(*map(np.concatenate, zip(*each, strict=True))) for each in _variants(pooled, seed, resamples)
    )
    scores = pooled.metric(pooled.sums(pooled.shape[None]))[..., 0].mean(axis=0)
    point = float(scores[1] - scores[0])
    share = None
    if all((draws.before > 0).all() for draws in (lost, won)):
        share = _interval(1 + _low(lost.gain / lost.before), 1 + _high(won.gain / won.before), resamples)
    return Intervals(
        gain=_interval(100 * _low(lost.gain), 100 * _high(won.gain), resamples),
        retention=share,
        down=_reach(point - _low(plain.mean), point - _low(plain.gain), point - _low(lost.gain)),
        up=_reach(_high(plain.mean) - point, _high(plain.gain) - point, _high(won.gain) - point),
    )


def _variants(pooled: Pool, seed: int, resamples: int) -> Iterator[list[_Draws]]:
    """Resamples as the rows are; the same with a row lost; the same with a row won."""
    rng = np.random.default_rng(seed)
    seeds, cells = len(pooled.cells), len(pooled.shape)
    chunk = max(1, CHUNK // max(cells, 2 * seeds * pooled.loss.shape[-1]))
    found: tuple[list[_Draws], ...] = ([], [], [])
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        sums = pooled.sums(pooled.weights(rng, size))
        unseen = rng.standard_exponential((size, 1))
        noise = rng.standard_t(seeds - 1, size) if seeds > 1 else np.zeros(size)
        for draws, row in zip(found, (np.zeros_like(pooled.loss), pooled.loss, pooled.gain), strict=True):
            draws.append(_scored(pooled.metric(sums + unseen * row[:, None]), noise))
    yield from found


def _scored(scores: Array, noise: Array) -> _Draws:
    """``scores`` ``(seeds, 2, D)``, ``noise`` ``(D,)`` of Student's t."""
    gains = scores[:, 1] - scores[:, 0]
    seeds = len(gains)
    error = gains.std(axis=0, ddof=1) / np.sqrt(seeds) if seeds > 1 else 0.0
    mean = gains.mean(axis=0)
    return _Draws(scores[:, 0].mean(axis=0), mean + noise * error, mean)


def _reach(rows: float, drawn: float, whole: float) -> Reach:
    """Of the distances to the end by rows alone, with the seeds, and with what was not seen; 0 to 1 each."""
    return Reach(
        rows=100 * max(0.0, rows), seeds=100 * max(0.0, drawn**2 - rows**2) ** 0.5, unseen=100 * max(0.0, whole - drawn)
    )


def _low(drawn: Array) -> float:
    return float(np.quantile(drawn, (1 - CONFIDENCE) / 2))


def _high(drawn: Array) -> float:
    return float(np.quantile(drawn, (1 + CONFIDENCE) / 2))


def _interval(low: float, high: float, resamples: int) -> Interval:
    return Interval(low=low, high=high, confidence=CONFIDENCE, resamples=resamples)
