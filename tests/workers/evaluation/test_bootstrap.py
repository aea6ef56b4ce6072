"""The interval of a difference: it holds the truth, and it knows that what was not seen may be there."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tests.support.scored import THREE, TWO, answers, scores
from workers.evaluation.bootstrap import Intervals, bootstrap
from workers.evaluation.metrics import MetricLabels

GOLD = np.random.default_rng(0).integers(0, 2, 500)
GOOD = answers(GOLD, 0.9, seed=1)


def interval(metric: str, gold: np.ndarray, before: np.ndarray, after: np.ndarray, labels: MetricLabels) -> Intervals:
    found = bootstrap(
        [(scores(metric, gold, before, labels), scores(metric, gold, after, labels))], metric, labels, seed=1
    )
    assert found is not None
    return found


def test_both_intervals_hold_what_was_found() -> None:
    for after in (answers(GOLD, 0.9, seed=2), answers(GOLD, 0.7, seed=2), GOLD):
        found = interval("accuracy", GOLD, GOOD, after, TWO)
        assert found.retention is not None
        was, now = 100 * np.mean(GOOD == GOLD), 100 * np.mean(after == GOLD)
        assert found.gain.low < now - was < found.gain.high
        assert found.retention.low < now / was < found.retention.high


@pytest.mark.parametrize("lost", [0, 1, 4])
def test_losses_one_way_have_the_bound_of_clopper_and_pearson(lost: int) -> None:
    after = GOLD.copy()
    after[:lost] = 1 - after[:lost]
    bound = 100 * stats.beta.ppf(0.975, lost + 1, len(GOLD) - lost)
    assert interval("accuracy", GOLD, GOLD, after, TWO).gain.low == pytest.approx(-bound, rel=0.05)
    assert interval("accuracy", GOLD, after, GOLD, TWO).gain.high == pytest.approx(bound, rel=0.05)


def test_models_that_agree_on_few_rows_may_differ_on_others() -> None:
    few = interval("accuracy", GOLD[:100], GOOD[:100], GOOD[:100], TWO)
    assert few.gain.low < -3
    assert few.gain.high > 3
    assert few.down.unseen == pytest.approx(-few.gain.low, abs=0.01)


def test_a_row_of_the_rarest_label_costs_most() -> None:
    gold = np.array([0] * 400 + [1] * 90 + [2] * 10)
    found = interval("f1", gold, gold, gold, THREE)
    frequent = interval("f1", gold[:490], gold[:490], gold[:490], MetricLabels(THREE.names[:2]))
    assert found.gain.low < 3 * frequent.gain.low


def test_a_label_without_rows_leaves_all_of_its_f1_open() -> None:
    found = interval("f1", GOLD, GOOD, GOOD, THREE)
    assert found.gain.low < -33
    assert found.gain.high > 33


def test_rare_and_missing_labels_break_no_resample() -> None:
    """Field case: a resample without the rare label was of two labels, and another average."""
    gold = np.array([0] * 8 + [1] * 13 + [2])
    guess = np.ones(22, dtype=np.int64)
    for metric in ("f1", "matthews_correlation", "accuracy"):
        found = interval(metric, gold, guess, guess, THREE)
        assert np.isfinite([found.gain.low, found.gain.high]).all()
        assert found.gain.low < 0 < found.gain.high


def test_unlike_seeds_widen_it() -> None:
    def over(rights: tuple[float, ...]) -> Intervals:
        pairs = [
            (scores("accuracy", GOLD, GOOD), scores("accuracy", GOLD, answers(GOLD, right, seed=3))) for right in rights
        ]
        found = bootstrap(pairs, "accuracy", TWO, seed=1)
        assert found is not None
        return found

    alike, unlike = over((0.85, 0.85, 0.85)), over((0.75, 0.85, 0.95))
    assert alike.down.seeds == pytest.approx(0, abs=0.05)
    assert unlike.down.seeds > 3 * unlike.down.rows
    assert unlike.gain.low < alike.gain.low


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
def test_correlations_have_one_too(metric: str) -> None:
    draw, labels = np.random.default_rng(1), MetricLabels()
    gold = draw.random(1500) * 5
    before, noise = gold + draw.normal(size=1500), draw.normal(size=1500)
    same, worse = (interval(metric, gold, before, before + width * noise, labels) for width in (0.1, 1.0))
    assert same.gain.low < 0 < same.gain.high
    assert worse.gain.high < -1


def test_the_same_seed_gives_the_same_interval() -> None:
    one, other = (interval("accuracy", GOLD, GOOD, answers(GOLD, 0.8, seed=4), TWO) for _ in range(2))
    assert one == other


def test_what_has_no_score_has_no_interval() -> None:
    one = scores("accuracy", GOLD[:1], GOOD[:1])
    assert bootstrap([(one, one)], "accuracy", TWO, seed=1) is None
    flat = scores("pearson", np.arange(9.0), np.ones(9), MetricLabels())
    assert bootstrap([(flat, flat)], "pearson", MetricLabels(), seed=1) is None
