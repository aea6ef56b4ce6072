"""What is said of scores that must not be believed as they stand."""

from __future__ import annotations

import numpy as np

from tests.support.scored import answers, scores
from workers.evaluation.by_seed import Pair
from workers.evaluation.metrics import MetricLabels
from workers.evaluation.score_warnings import score_warnings

FRAUD = MetricLabels(("fraud", "normal"), positive=0)
GOLD = np.array(([0] + [1] * 9) * 30)


def warnings(before: np.ndarray | None, after: np.ndarray, gold: np.ndarray = GOLD) -> list[str]:
    pair: Pair = (None if before is None else scores("f1", gold, before, FRAUD), scores("f1", gold, after, FRAUD))
    return list(score_warnings(pair, FRAUD, "class"))


def test_of_models_that_have_learnt_nothing_is_said() -> None:
    good = answers(GOLD, 0.97, seed=1)
    assert warnings(good, good) == []


def test_a_baseline_no_better_than_the_majority() -> None:
    assert warnings(answers(GOLD, 0.85, seed=1), GOLD) == [
        "the model before has not learnt the task: it is right in 87.3% of the rows, and giving all of them the label"
        " 'normal' would be in 90.0%"
    ]


def test_a_model_with_one_answer_for_all() -> None:
    never = np.ones_like(GOLD)
    assert warnings(GOLD, never) == ["the model after gives all 300 rows the same answer: label 'normal'"]
    assert [warning[:16] for warning in warnings(never, never)] == ["the model before"] * 2 + ["the model after "]
    assert warnings(None, GOLD) == []


def test_few_rows() -> None:
    assert warnings(GOLD[:199], GOLD[:199], GOLD[:199])[0].startswith("the score is taken on 199 rows: under 200")


def test_a_regression_whose_answers_are_all_alike() -> None:
    gold, labels = np.arange(250.0), MetricLabels()
    pair = (scores("pearson", gold, gold, labels), scores("pearson", gold, np.full(250, 2.5), labels))
    assert list(score_warnings(pair, labels, "number")) == ["the model after gives all 250 rows the same answer: 2.5"]


def of_sets(gold: np.ndarray, guess: np.ndarray) -> list[str]:
    labels = MetricLabels(("late", "dirty", "loud"))
    pair = (scores("micro_f1", gold, guess, labels), scores("micro_f1", gold, gold, labels))
    return list(score_warnings(pair, labels, "classes"))


def test_label_sets_no_better_than_the_same_labels_for_all_rows() -> None:
    gold = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 0, 1]] * 60)
    assert of_sets(gold, gold) == []
    said = "the model before has not learnt the task: its micro_f1 is 0.0%, and giving all rows the labels"
    # 'late' alone: 8 of 11 that are given or there; with 'dirty' 12 of 15.
    assert of_sets(gold, np.zeros_like(gold)) == [f"{said} 'late', 'dirty' would have 80.0%"]
    assert of_sets(gold, np.array([[1, 1, 0]] * 240)) == [
        "the model before has not learnt the task: its micro_f1 is 80.0%, and giving all rows the labels 'late',"
        " 'dirty' would have 80.0%"
    ]


def of_tags(right: int, given: int, there: int = 10) -> list[str]:
    gold = np.array([there, *[0] * 299])
    before = np.array([[given, right], *[[0, 0]] * 299])
    after = np.array([[10, 10], *[[0, 0]] * 299])
    pair = (scores("entity_f1", gold, before), scores("entity_f1", gold, after))
    return list(score_warnings(pair, MetricLabels(("O", "B-A")), "tags"))


def test_a_tagger_that_is_mostly_wrong() -> None:
    assert of_tags(right=5, given=20) == []  # half of them are found
    assert of_tags(right=4, given=8) == []  # half of what it finds is right
    assert of_tags(right=3, given=20) == [
        "the model before has not learnt the task: of 10 entities it finds 3, and gives 20 in all: most of both is"
        " wrong"
    ]
    assert [warning[:40] for warning in of_tags(right=0, given=0)] == ["the model before has not learnt the task"]
    assert of_tags(right=0, given=5, there=0), "where nothing is to be found, and it finds something"
