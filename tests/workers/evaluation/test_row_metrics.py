"""Scores that are sums over rows: their intervals hold the metric itself, and the rows that might come next."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tests.support.scored import scores
from workers.evaluation import metrics
from workers.evaluation.bootstrap import Intervals, bootstrap
from workers.evaluation.metrics import MetricLabels
from workers.evaluation.weighted import ROW_METRICS, pool

LABELS = MetricLabels(("a", "b", "rare"))
LABELLED, ENTITIES = ("micro_f1", "macro_f1", "exact_match"), ("entity_f1", "entity_precision", "entity_recall")


def made(metric: str, count: int, seed: int = 0) -> tuple[np.ndarray, list[np.ndarray]]:
    """Gold, and the answers of two models, as the metric takes them."""
    draw = np.random.default_rng(seed)
    if metric in LABELLED:
        gold = (draw.random((count, 3)) < [0.5, 0.4, 0.1]).astype(np.int64)
        return gold, [np.where(draw.random(gold.shape) < right, gold, 1 - gold) for right in (0.9, 0.7)]
    if metric in ENTITIES:
        gold = draw.integers(0, 4, count)
        right = [np.minimum(gold, draw.binomial(gold, share)) for share in (0.9, 0.6)]
        return gold, [np.stack([each + draw.integers(0, 2, count), each], axis=1) for each in right]
    return np.ones(count), [draw.uniform(low, 1, count) for low in (0.9, 0.2)]


def interval(metric: str, gold: np.ndarray, before: np.ndarray, after: np.ndarray) -> Intervals:
    pair = scores(metric, gold, before, LABELS), scores(metric, gold, after, LABELS)
    found = bootstrap([pair], metric, LABELS, seed=1)
    assert found is not None
    return found


@pytest.mark.parametrize("metric", ROW_METRICS)
@pytest.mark.parametrize("count", [40, 1700])
def test_the_pool_of_all_rows_has_the_metric_itself(metric: str, count: int) -> None:
    """1700 are more than are weighted one by one."""
    gold, sides = made(metric, count)
    pooled = pool(metric, gold, np.array([sides]), LABELS)
    assert len(pooled.shape) == min(count, 500)
    found = pooled.metric(pooled.sums(pooled.shape[None]))[0, :, 0]
    wanted = [metrics.score((metric,), gold, side, LABELS).values[metric] for side in sides]
    assert 100 * found == pytest.approx(wanted)


@pytest.mark.parametrize("metric", ROW_METRICS)
def test_a_row_of_weight_two_counts_as_two_rows(metric: str) -> None:
    gold, sides = made(metric, 40)
    weights = np.random.default_rng(8).integers(1, 4, 40)
    pooled = pool(metric, gold, np.array([sides]), LABELS)
    order = np.argsort(np.random.default_rng(40).permutation(40))
    found = pooled.metric(pooled.sums(weights[None, order].astype(float)))[0, :, 0]
    twice = [np.repeat(each, weights, axis=0) for each in (gold, *sides)]
    wanted = [metrics.score((metric,), twice[0], side, LABELS).values[metric] for side in twice[1:]]
    assert 100 * found == pytest.approx(wanted)


@pytest.mark.parametrize("metric", ROW_METRICS)
def test_a_row_that_is_lost_costs_and_one_that_is_won_brings(metric: str) -> None:
    gold, sides = made(metric, 60)
    pooled = pool(metric, gold, np.array([sides]), LABELS)
    point = pooled.sums(pooled.shape[None])[0, :, 0]
    before, after = pooled.metric(point)
    for row, sign in ((pooled.loss, -1), (pooled.gain, 1)):
        with_one = pooled.metric(point + row)
        assert sign * ((with_one[1] - with_one[0]) - (after - before)) > 0


@pytest.mark.parametrize("metric", LABELLED)
def test_no_label_that_there_is_costs_more_than_the_one_that_is_lost(metric: str) -> None:
    gold, _ = made(metric, 60)
    pooled = pool(metric, gold, np.array([[gold, gold]]), LABELS)

    def change(row: np.ndarray, after: np.ndarray) -> float:
        more = [np.concatenate([gold, each[None]]) for each in (row, row, after)]
        was, now = (metrics.score((metric,), more[0], side, LABELS).values[metric] for side in more[1:])
        assert was is not None
        assert now is not None
        return now - was

    lost = pooled.metric(pooled.sums(pooled.shape[None])[0, :, 0] + pooled.loss)
    least = min(change(row, np.zeros(3, dtype=np.int64)) for row in np.eye(3, dtype=np.int64))
    assert 100 * (lost[1] - lost[0]) == pytest.approx(least)


@pytest.mark.parametrize("metric", ROW_METRICS)
def test_an_interval_holds_what_was_found_and_leaves_open_what_was_not(metric: str) -> None:
    gold, (before, after) = made(metric, 300)
    was, now = (metrics.score((metric,), gold, side, LABELS).values[metric] for side in (before, after))
    assert was is not None
    assert now is not None
    found = interval(metric, gold, before, after)
    assert found.gain.low < now - was < found.gain.high < 0, "the model after is far worse"
    same = interval(metric, gold, before, before)
    assert same.gain.low < 0 < same.gain.high
    few = interval(metric, gold[:60], before[:60], before[:60])
    assert few.gain.low < same.gain.low


@pytest.mark.parametrize("lost", [0, 3])
def test_sets_that_are_lost_one_way_have_the_bound_of_clopper_and_pearson(lost: int) -> None:
    gold, _ = made("exact_match", 400)
    after = gold.copy()
    after[:lost] = 1 - after[:lost]
    bound = 100 * stats.beta.ppf(0.975, lost + 1, len(gold) - lost)
    assert interval("exact_match", gold, gold, after).gain.low == pytest.approx(-bound, rel=0.05)
