"""Metrics from weighted sums: those of scikit-learn with sample weights, and of scipy with rows that are repeated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from workers.evaluation.metrics import MetricLabels
from workers.evaluation.weighted import pool

LABELS = MetricLabels(("a", "b", "c", "rare"))
OF_SKLEARN: dict[tuple[str, int | None], Callable[..., float]] = {
    ("accuracy", None): sk.accuracy_score,
    ("f1", None): lambda *rows, **more: sk.f1_score(*rows, labels=range(4), average="macro", zero_division=0, **more),
    ("f1", 3): lambda *rows, **more: sk.f1_score(*rows, labels=[3], average="macro", zero_division=0, **more),
    ("matthews_correlation", None): sk.matthews_corrcoef,
}


def scored(metric: str, gold: np.ndarray, guesses: Any, weights: np.ndarray, labels: MetricLabels) -> np.ndarray:
    """``(seeds, 2)``. Weights of rows that are pooled are added up."""
    pooled = pool(metric, gold, np.asarray(guesses), labels)
    rows = np.concatenate([gold[None], np.asarray(guesses).reshape(-1, len(gold))])
    cell = np.unique(rows, axis=1, return_inverse=True)[1].ravel()
    drawn = np.bincount(cell, weights=weights)
    # Pooled in the order of sorted columns, as `unique` has them.
    return pooled.metric(pooled.sums(drawn[None]))[..., 0]


@pytest.mark.parametrize(("metric", "positive"), OF_SKLEARN)
@pytest.mark.parametrize("last", [0.0, 0.03, 0.25])
def test_of_labels_as_scikit_learn(metric: str, positive: int | None, last: float) -> None:
    draw, labels = np.random.default_rng(5), MetricLabels(LABELS.names, positive)
    for _ in range(10):
        gold = draw.choice(4, 80, p=[0.4, 0.3, 0.3 - last, last])
        guesses = np.array([[np.where(draw.random(80) < right, gold, draw.integers(0, 4, 80)) for right in (0.8, 0.5)]])
        weights = draw.exponential(size=80)
        wanted = [OF_SKLEARN[metric, positive](gold, guess, sample_weight=weights) for guess in guesses[0]]
        assert scored(metric, gold, guesses, weights, labels)[0] == pytest.approx(wanted)


def test_answers_all_alike_have_a_matthews_of_0() -> None:
    gold, guess = np.array([0, 1, 1, 3]), np.zeros(4, dtype=np.int64)
    weights = np.array([0.1, 0.2, 0.3, 0.7])
    assert scored("matthews_correlation", gold, [[guess, gold]], weights, LABELS)[0] == pytest.approx([0, 1])


@pytest.mark.parametrize(("metric", "function"), [("pearson", stats.pearsonr), ("spearman", stats.spearmanr)])
def test_of_numbers_as_scipy(metric: str, function: Callable[..., Any]) -> None:
    draw = np.random.default_rng(2)
    gold = np.round(draw.random(3000) * 20) / 4
    guesses = np.array([[gold + draw.normal(size=3000), 1000 + gold] for _ in range(2)], dtype=np.float32)
    pooled = pool(metric, gold, guesses, MetricLabels())
    assert len(pooled.shape) < 3000, "so many rows are grouped"
    found = pooled.metric(pooled.sums(pooled.shape[None]))[..., 0]
    wanted = [[function(gold, side).statistic for side in pair] for pair in guesses.astype(np.float64)]
    assert found == pytest.approx(np.array(wanted))


def test_a_row_of_weight_two_counts_as_two_rows() -> None:
    draw = np.random.default_rng(4)
    gold = draw.normal(size=40)
    guess = gold + draw.normal(size=40)
    weights = draw.integers(1, 4, 40)
    pooled = pool("pearson", gold, np.array([[guess, gold]]), MetricLabels())
    order = np.argsort(np.random.default_rng(40).permutation(40))
    found = pooled.metric(pooled.sums(weights[None, order].astype(float)))[0, 0, 0]
    repeated = stats.pearsonr(np.repeat(gold, weights), np.repeat(guess, weights)).statistic
    assert found == pytest.approx(repeated)


def test_many_models_over_many_labels_are_pooled_without_a_mixup() -> None:
    """So many that their numbers do not fit one integer of 64 bits."""
    draw = np.random.default_rng(6)
    gold = draw.integers(0, 1000, 500)
    guesses = np.where(draw.random((5, 2, 500)) < 0.9, gold, draw.integers(0, 1000, (5, 2, 500)))
    pooled = pool("accuracy", gold, guesses, MetricLabels(tuple(map(str, range(1000)))))
    assert pooled.metric(pooled.sums(pooled.shape[None]))[..., 0] == pytest.approx((guesses == gold).mean(axis=-1))
