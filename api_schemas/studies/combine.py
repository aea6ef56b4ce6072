"""One interval and one verdict of a row, from those of its seeds: closed form, with no scored row at hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from api_schemas.reports import Outcome
from api_schemas.studies.shown import ShownInterval, Spread

CONFIDENCE = 0.95

#: The 0.975 quantile of Student's t for 1 to 12 degrees of freedom; beyond, the series of ``t_quantile``.
T_QUANTILES = (
    12.7062047,
    4.3026527,
    3.1824463,
    2.7764451,
    2.5705818,
    2.4469119,
    2.3646243,
    2.3060041,
    2.2621572,
    2.2281389,
    2.2009852,
    2.1788128,
)
#: The same of the normal distribution.
Z = 1.959963985


class OfSeed(NamedTuple):
    """The retention that one seed's job has found, and the ends of its interval: of a bootstrap over the rows."""

    retention: float
    low: float
    high: float


class Combined(NamedTuple):
    """``seeds`` is how far each end is from the mean by the seeds alone."""

    spread: Spread
    interval: ShownInterval
    seeds: float


class Decided(NamedTuple):
    outcome: Outcome
    verdict: str


def spread_of(values: Sequence[float]) -> Spread | None:
    """Mean and sample standard deviation; None of nothing."""
    count = len(values)
    if not count:
        return None
    if count == 1:
        return Spread(mean=values[0], count=1)
    mean = math.fsum(values) / count
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    return Spread(mean=mean, std=std, count=count)


def combine(seeds: Sequence[OfSeed]) -> Combined:
    """The interval of the mean retention over ``n`` seeds ``r`` with intervals ``[l, h]``::

        low  = mean(r) - sqrt(mean(r - l)² + (t · s / √n)²)
        high = mean(r) + sqrt(mean(h - r)² + (t · s / √n)²)

    ``s`` is the sample standard deviation of ``r``, ``t`` the 0.975 quantile of Student's t with ``n - 1`` degrees of
    freedom: the seeds are a sample of all (Student 1908). All are scored on the same rows, so what these leave open is
    taken to be open for all seeds in the same direction: the mean of the reaches, which does not shrink with ``n``.
    The two are independent, and errors that are add by their squares; each end has its own reach, as the bootstrap's
    ends have. What differs between seeds by row stands in both terms, so the interval is not too narrow.
    ``workers/evaluation/bootstrap.py`` draws the same from the scored rows of all seeds (ADR 0063).
    """
    spread = spread_of([seed.retention for seed in seeds])
    assert spread is not None
    by_seeds = 0.0
    if spread.std is not None:
        by_seeds = t_quantile(spread.count - 1) * spread.std / math.sqrt(spread.count)
    down = math.fsum(max(0.0, seed.retention - seed.low) for seed in seeds) / spread.count
    up = math.fsum(max(0.0, seed.high - seed.retention) for seed in seeds) / spread.count
    interval = ShownInterval(
        low=spread.mean - math.hypot(down, by_seeds), high=spread.mean + math.hypot(up, by_seeds), confidence=CONFIDENCE
    )
    return Combined(spread, interval, by_seeds)


def t_quantile(freedom: int) -> float:
    """The 0.975 quantile of Student's t: printed values, then the expansion of Cornish and Fisher in 1 / freedom
    (Abramowitz and Stegun 26.7.5), which is right to 1e-5 from 13 degrees of freedom on.
    """
    if freedom <= len(T_QUANTILES):
        return T_QUANTILES[freedom - 1]
    z, v = Z, freedom
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * v**4)
    )


#: As ``OUTCOMES`` of workers/evaluation/verdict.py, of an interval of the retention; the first that holds is said.
OUTCOMES: tuple[tuple[Outcome, Callable[[ShownInterval, float], bool]], ...] = (
    ("better", lambda interval, least: interval.low > 1),
    ("kept", lambda interval, least: interval.low > least),
    ("lost", lambda interval, least: interval.high < least),
    ("undecided", lambda interval, least: True),
)

SENTENCES: dict[Outcome, str] = {
    "better": "better: by at least {gain:.2f} % of the score ({found})",
    "kept": "kept: at least {low:.2f} % of the score, and {least:.2f} % must be ({found})",
    "lost": "lost: at most {high:.2f} % of the score is kept, and {least:.2f} % must be ({found})",
    "undecided": "undecided: {reason} ({found}; {least:.2f} % must be kept)",
}


def decide(combined: Combined, margin: float) -> Decided:
    """By non-inferiority: the mean of the seeds must keep ``1 - margin``, and not being able to tell is not keeping."""
    spread, interval, seeds = combined
    least = 1 - margin
    outcome = next(name for name, holds in OUTCOMES if holds(interval, least))
    more = "more seeds would" if abs(spread.mean - least) <= seeds else "more rows to score on would"
    found = (
        f"mean {_percent(spread.mean)} ± {_percent(spread.std or 0.0)} over {spread.count} seeds, "
        f"{interval.confidence:.0%} interval {_percent(interval.low)} to {_percent(interval.high)}"
    )
    said = SENTENCES[outcome].format(
        gain=100 * (interval.low - 1),
        low=100 * interval.low,
        high=100 * interval.high,
        least=100 * least,
        reason=f"{spread.count} seeds cannot tell; {more}",
        found=found,
    )
    return Decided(outcome, said)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
