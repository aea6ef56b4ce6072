"""The interval that a study combines of its seeds' intervals is near the bootstrap's, which has their rows."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from api_schemas.reports import Interval
from api_schemas.studies.combine import OfSeed, combine
from api_schemas.studies.shown import ShownInterval
from tests.support.scored import TWO, scores
from workers.evaluation.bootstrap import bootstrap
from workers.evaluation.scores import Scores

Pairs = list[tuple[Scores, Scores]]


def trained(seeds: int, rows: int, unlike: float, seed: int) -> Pairs:
    """Before and after of each seed. Rows that are hard are so for most models; ``unlike`` is how the trainings
    differ, as a standard deviation of the share that is right.
    """
    rng = np.random.default_rng(seed)
    gold, hardness = rng.integers(0, 2, rows), rng.standard_normal(rows)

    def side(right: float) -> Scores:
        difficulty = 0.9 * hardness + 0.19**0.5 * rng.standard_normal(rows)
        return scores("accuracy", gold, np.where(difficulty < NormalDist().inv_cdf(right), gold, 1 - gold))

    return [(side(0.88), side(0.86 + unlike * rng.standard_normal())) for _ in range(seeds)]


def retention(pairs: Pairs) -> Interval:
    found = bootstrap(pairs, "accuracy", TWO, seed=1)
    assert found is not None
    assert found.retention is not None
    return found.retention


def combined(pairs: Pairs) -> ShownInterval:
    found = []
    for before, after in pairs:
        alone = retention([(before, after)])
        found.append(OfSeed((after.score or 0) / (before.score or 1), alone.low, alone.high))
    return combine(found).interval


def width(interval: Interval | ShownInterval) -> float:
    return interval.high - interval.low


def test_seeds_that_answer_alike_have_the_interval_of_one() -> None:
    """No more rows were seen for five of them: it is the bootstrap's, to the noise of its resamples."""
    pairs = trained(1, 500, 0.0, seed=3) * 5
    ours, drawn = combined(pairs), retention(pairs)
    assert ours.low == pytest.approx(drawn.low, abs=0.02 * width(drawn))
    assert ours.high == pytest.approx(drawn.high, abs=0.02 * width(drawn))


@pytest.mark.parametrize("seeds", [3, 4, 5])
@pytest.mark.parametrize(("rows", "unlike"), [(277, 0.02), (2000, 0.02), (2000, 0.005)])
def test_ends_are_the_bootstraps_within_a_fifth_of_its_width(seeds: int, rows: int, unlike: float) -> None:
    for seed in range(4):
        pairs = trained(seeds, rows, unlike, seed)
        ours, drawn = combined(pairs), retention(pairs)
        assert ours.low == pytest.approx(drawn.low, abs=0.2 * width(drawn))
        assert ours.high == pytest.approx(drawn.high, abs=0.2 * width(drawn))


def test_many_seeds_are_not_more_certain_than_the_bootstrap() -> None:
    for seed in range(4):
        pairs = trained(10, 500, 0.01, seed)
        assert width(retention(pairs)) < width(combined(pairs)) < 2 * width(retention(pairs))
