"""Scores against numbers worked out by hand or by another route."""

import numpy as np
import pytest

from api_schemas.tasks import TASKS, Task
from workers.evaluation import metrics
from workers.evaluation.retention import bootstrap, retention, verdict
from workers.evaluation.scores import Scores

GOLD = np.array([1, 1, 0, 0, 1, 0, 1, 0])
GUESS = np.array([1, 0, 0, 0, 1, 1, 1, 0])  # tp 3, fp 1, fn 1, tn 3


def test_classification_metrics_of_a_known_table() -> None:
    found = metrics.score(("accuracy", "f1", "matthews_correlation"), GOLD, GUESS)
    assert found == pytest.approx({"accuracy": 75.0, "f1": 75.0, "matthews_correlation": 50.0})


def test_correlations_of_a_known_table() -> None:
    gold, guess = np.array([1.0, 2, 3, 4]), np.array([1.0, 4, 9, 16])
    found = metrics.score(("pearson", "spearman"), gold, guess)
    assert found["spearman"] == pytest.approx(100)
    assert found["pearson"] == pytest.approx(100 * np.corrcoef(gold, guess)[0, 1])


def test_a_constant_answer_correlates_with_nothing() -> None:
    assert metrics.score(("pearson", "spearman"), np.array([1.0, 2, 3]), np.ones(3)) == {"pearson": 0, "spearman": 0}


def test_f1_of_more_than_two_labels_is_the_mean_of_each() -> None:
    gold, guess = np.array([0, 1, 2, 2]), np.array([0, 1, 2, 1])
    assert metrics.score(("f1",), gold, guess)["f1"] == pytest.approx(100 * (1 + 2 / 3 + 2 / 3) / 3)


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_every_task_can_be_scored(task: Task) -> None:
    logits = np.random.default_rng(0).normal(size=(20, max(1, len(task.labels)))).astype(np.float32)
    guess = metrics.predictions(logits, regression=task.regression)
    found = metrics.score(task.metrics, guess, guess)
    assert found[task.headline] == pytest.approx(100)


def scores(gold: np.ndarray, guess: np.ndarray) -> Scores:
    value = metrics.score(("accuracy",), gold, guess)
    return Scores(value["accuracy"], value, gold, guess)


def test_the_interval_tells_a_real_loss_from_noise() -> None:
    draw = np.random.default_rng(0)
    gold = draw.integers(0, 2, 500)
    good = np.where(draw.random(500) < 0.9, gold, 1 - gold)
    same = np.where(draw.random(500) < 0.9, gold, 1 - gold)
    bad = np.where(draw.random(500) < 0.7, gold, 1 - gold)
    for after, word in ((same, "within noise"), (bad, "worse than"), (gold, "better than")):
        one, other = scores(gold, good), scores(gold, after)
        intervals = bootstrap([(one, other)], "accuracy", seed=1)
        assert intervals is not None
        assert intervals.retention is not None
        interval = intervals.gain
        assert intervals.retention.low <= other.score / one.score <= intervals.retention.high
        assert interval.low <= other.score - one.score <= interval.high
        assert word in verdict(one.score, other.score, interval)


def test_a_baseline_of_nothing_has_no_retention() -> None:
    assert retention(0.0, 10.0) is None
    assert retention(80.0, 60.0) == pytest.approx(0.75)


def test_the_verdict_says_what_was_not_measured() -> None:
    assert "not scored" in verdict(None, None, None)
    assert "no baseline" in verdict(None, 80.0, None)
