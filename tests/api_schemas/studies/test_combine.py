"""The interval of several seeds holds the truth, and the verdict is by it."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from api_schemas.studies.combine import OfSeed, Z, combine, decide, spread_of, t_quantile


def around(retention: float, reach: float = 0.02) -> OfSeed:
    return OfSeed(retention, retention - reach, retention + reach)


@pytest.mark.parametrize("freedom", [1, 2, 5, 12, 13, 20, 99, 199, 10_000])
def test_quantiles_are_students(freedom: int) -> None:
    assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=1e-5)


def test_the_spread_is_of_the_sample() -> None:
    found = spread_of([0.9, 1.0, 1.1])
    assert found is not None
    assert (found.mean, found.std, found.count) == (pytest.approx(1.0), pytest.approx(0.1), 3)
    alone = spread_of([0.9])
    assert alone is not None
    assert (alone.mean, alone.std, alone.count) == (0.9, None, 1)
    assert spread_of([]) is None


def test_rows_are_not_more_for_more_seeds() -> None:
    """Seeds that agree leave open what the rows leave open, however many they are."""
    for count in (2, 10, 100):
        interval = combine([around(0.98)] * count).interval
        assert (interval.low, interval.high) == (pytest.approx(0.96), pytest.approx(1.0))


def test_each_end_has_its_own_reach() -> None:
    interval = combine([OfSeed(0.98, 0.90, 0.99), OfSeed(0.98, 0.92, 0.99)]).interval
    assert (interval.low, interval.high) == (pytest.approx(0.91), pytest.approx(0.99))


def test_seeds_that_differ_widen_it_by_students_t() -> None:
    found = combine([around(0.95, 0), around(0.99, 0)])
    assert found.interval.high - found.spread.mean == pytest.approx(12.7062 * 0.02 * math.sqrt(2) / math.sqrt(2), 1e-4)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.5, 1.2), st.floats(0, 0.2)), min_size=2, max_size=30))
def test_it_is_never_narrower_than_by_rows_or_by_seeds_alone(seeds: list[tuple[float, float]]) -> None:
    found = combine([around(*seed) for seed in seeds])
    rows = sum(reach for _, reach in seeds) / len(seeds)
    reach = found.interval.high - found.spread.mean
    assert max(rows, found.seeds) - 1e-9 <= reach <= rows + found.seeds + 1e-9


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize(
    ("by_seed", "by_rows", "by_both"),
    [(0.01, 0.01, 0.01), (0.03, 0.005, 0.005), (0.003, 0.02, 0.0), (0.003, 0.01, 0.02), (0.02, 0.02, 0.0)],
)
def test_it_holds_the_truth_19_times_of_20(seeds: int, by_seed: float, by_rows: float, by_both: float) -> None:
    """Trainings and rows that are drawn anew: noise of the seed, of the rows alike for all seeds, and of both."""
    rng, truth, trials = random.Random(7), 0.97, 2000
    reach = Z * math.hypot(by_rows, by_both)
    hits = 0
    for _ in range(trials):
        rows = rng.gauss(truth, by_rows)
        drawn = [rows + rng.gauss(0, by_seed) + rng.gauss(0, by_both) for _ in range(seeds)]
        interval = combine([around(retention, reach) for retention in drawn]).interval
        hits += interval.low <= truth <= interval.high
    assert hits >= 0.94 * trials


@pytest.mark.parametrize(
    ("seeds", "margin", "outcome", "said"),
    [
        ([around(1.05), around(1.05)], 0.01, "better", "by at least 3.00 %"),
        ([around(1.0), around(1.0)], 0.03, "kept", "at least 98.00 % of the score, and 97.00 % must be"),
        ([around(0.9), around(0.9)], 0.01, "lost", "at most 92.00 % of the score is kept, and 99.00 % must be"),
        ([around(0.99), around(0.99)], 0.02, "undecided", "2 seeds cannot tell; more rows to score on would"),
        ([around(0.95), around(0.99)], 0.02, "undecided", "2 seeds cannot tell; more seeds would"),
    ],
)
def test_the_verdict_begins_with_the_outcome_and_has_the_numbers(
    seeds: list[OfSeed], margin: float, outcome: str, said: str
) -> None:
    found = decide(combine(seeds), margin)
    assert found.outcome == outcome
    assert found.verdict.startswith(f"{outcome}: ")
    assert said in found.verdict
    assert "over 2 seeds, 95% interval" in found.verdict
