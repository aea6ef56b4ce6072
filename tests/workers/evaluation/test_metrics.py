"""Scores against numbers worked out by hand or by scikit-learn, with rare and missing labels."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics as sk

from api_schemas.tasks import TASKS, Task
from workers.data.features import Features, Padding
from workers.evaluation import metrics
from workers.evaluation.metrics import MetricLabels
from workers.evaluation.retention import retention
from workers.kinds.table import plain_kind

GOLD = np.array([1, 1, 0, 0, 1, 0, 1, 0])
GUESS = np.array([1, 0, 0, 0, 1, 1, 1, 0])  # tp 3, fp 1, fn 1, tn 3
FRAUD = MetricLabels(("fraud", "normal"), positive=0)
MOODS = MetricLabels(("complaint", "ok", "praise"))
NUMBERS = MetricLabels()


def value(metric: str, gold: np.ndarray, guess: np.ndarray, labels: MetricLabels) -> float | None:
    return metrics.score((metric,), gold, guess, labels).values[metric]


def reason(metric: str, gold: np.ndarray, guess: np.ndarray, labels: MetricLabels) -> str:
    found = metrics.score((metric,), gold, guess, labels)
    assert found.values == {metric: None}
    return found.undefined[metric]


def test_classification_metrics_of_a_known_table() -> None:
    found = metrics.score(("accuracy", "f1", "matthews_correlation"), GOLD, GUESS, MetricLabels(("no", "yes"), 1))
    assert found.values == pytest.approx({"accuracy": 75.0, "f1": 75.0, "matthews_correlation": 50.0})
    assert found.undefined == {}


def test_correlations_of_a_known_table() -> None:
    gold, guess = np.array([1.0, 2, 3, 4]), np.array([1.0, 4, 9, 16])
    found = metrics.score(("pearson", "spearman"), gold, guess, NUMBERS).values
    assert found["spearman"] == pytest.approx(100)
    assert found["pearson"] == pytest.approx(100 * np.corrcoef(gold, guess)[0, 1])


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.98, 0.02), (0.6, 0.38, 0.02), (0.5, 0.5, 0.0), (0.2, 0.2, 0.2, 0.4)])
def test_scores_are_scikit_learns_over_all_the_tasks_labels(shares: tuple[float, ...]) -> None:
    draw, labels = np.random.default_rng(3), range(len(shares))
    names = MetricLabels(tuple(map(str, labels)))
    for _ in range(20):
        gold = draw.choice(len(shares), 60, p=shares)
        guess = np.where(draw.random(60) < 0.7, gold, draw.integers(0, len(shares), 60))
        # Both are in it: what scikit-learn does with a label that does not occur is not asked.
        gold[:2] = guess[:2] = (0, 1)
        macro = sk.f1_score(gold, guess, labels=labels, average="macro", zero_division=0)
        assert value("f1", gold, guess, names) == pytest.approx(100 * macro)
        assert value("accuracy", gold, guess, names) == pytest.approx(100 * sk.accuracy_score(gold, guess))
        matthews = sk.matthews_corrcoef(gold, guess)
        assert value("matthews_correlation", gold, guess, names) == pytest.approx(100 * matthews)
        if len(shares) == 2:
            for positive in labels:
                binary = sk.f1_score(gold, guess, pos_label=positive)
                assert value("f1", gold, guess, MetricLabels(names.names, positive)) == pytest.approx(100 * binary)


def test_f1_counts_a_label_that_no_row_has() -> None:
    gold, guess = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1])
    assert value("f1", gold, guess, MOODS) == pytest.approx(100 * 2 / 3)
    assert MOODS.missing("f1", gold) == "praise"
    assert MOODS.missing("accuracy", gold) is None


def test_f1_of_fraud_is_not_that_of_the_majority() -> None:
    """Field case: a model that never says fraud had 94.7."""
    gold = np.array([0] * 10 + [1] * 90)
    never = np.ones(100, dtype=np.int64)
    assert value("f1", gold, never, FRAUD) == 0
    assert value("f1", gold, never, MetricLabels(FRAUD.names, positive=1)) == pytest.approx(94.74, abs=0.01)


def test_which_label_a_metric_is_of_is_said() -> None:
    assert FRAUD.metric_of("f1") == "label 'fraud'"
    assert MOODS.metric_of("f1") == "mean of 3 labels"
    assert MOODS.metric_of("accuracy") is None


def test_what_has_no_value_is_none_and_says_why() -> None:
    none = np.ones(5, dtype=np.int64)
    assert reason("f1", none, none, FRAUD) == "no row has the label 'fraud', and the model gives it to none"
    assert value("f1", none, np.array([0, 1, 1, 1, 1]), FRAUD) == 0
    assert reason("matthews_correlation", none, GUESS[:5], FRAUD) == "all rows have the same label"
    assert value("matthews_correlation", GUESS[:5], none, FRAUD) == 0
    numbers = np.array([1.0, 2, 3])
    for metric in ("pearson", "spearman"):
        assert reason(metric, numbers, np.full(3, 0.7), NUMBERS) == "the model answers every row alike"
        assert reason(metric, np.ones(3), numbers, NUMBERS) == "all rows have the same number"
        assert reason(metric, numbers[:1], numbers[:1], NUMBERS) == "one row has no correlation"
        assert "finite" in reason(metric, numbers, np.array([1.0, np.nan, 2.0]), NUMBERS)


def test_no_value_is_one_that_json_does_not_have() -> None:
    for gold, guess in ((np.ones(1), np.ones(1)), (np.arange(3.0), np.array([np.inf, 0, 1]))):
        json.dumps(metrics.score(("pearson", "spearman"), gold, guess, NUMBERS).values, allow_nan=False)


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_every_task_can_be_scored(task: Task) -> None:
    kind, count = plain_kind(task.kind, task.label_names), max(1, len(task.labels))
    answers = np.random.default_rng(0).normal(size=(20, count)).astype(np.float32)
    rows = Features(np.zeros(20, dtype=np.int32), None, np.arange(21), np.zeros(20), Padding(0, 0, left=False))
    _, guess = kind.judged(task.headline, answers, rows, None)
    found = metrics.score(task.metrics, guess, guess, MetricLabels(task.label_names, 1 if task.label_names else None))
    assert found.values[task.headline] == pytest.approx(100)


def test_a_baseline_of_nothing_has_no_retention() -> None:
    assert retention(0.0, 10.0) is None
    assert retention(None, 10.0) is retention(80.0, None) is None
    assert retention(80.0, 60.0) == pytest.approx(0.75)
