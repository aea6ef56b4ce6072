"""Verdicts: what the interval allows to be said, in words that begin with the outcome."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.support.scored import THREE, TWO, answers, compare, scores
from workers.evaluation.metrics import MetricLabels
from workers.evaluation.scores import Scores
from workers.evaluation.verdict import decide, verdict

GOLD = np.random.default_rng(0).integers(0, 2, 4000)
GOOD = answers(GOLD, 0.9, seed=1)


def both(metric: str, gold: np.ndarray, before: np.ndarray, after: np.ndarray, labels: MetricLabels = TWO) -> Scores:
    return scores(metric, gold, before, labels), scores(metric, gold, after, labels)


def changed(rows: int) -> np.ndarray:
    """The good answers, with so many of the right ones lost."""
    right = np.flatnonzero(GOOD == GOLD)[:rows]
    after = GOOD.copy()
    after[right] = 1 - after[right]
    return after


@pytest.mark.parametrize(
    ("after", "outcome"),
    [(GOOD, "kept"), (changed(5), "kept"), (changed(40), "undecided"), (changed(400), "lost"), (GOLD, "better")],
)
def test_the_outcome_is_by_the_whole_interval(after: np.ndarray, outcome: str) -> None:
    compared = compare("accuracy", {1: both("accuracy", GOLD, GOOD, after)})
    decision = decide(compared)
    assert decision.outcome == outcome
    assert decision.margin_points == pytest.approx(0.01 * compared.before.score)
    assert (decision.margin, decision.rows) == (0.01, 4000)
    assert verdict(decision).startswith(f"{outcome}: ")
    assert re.search(r"[+-]\d+\.\d\d points, 95% interval [+-]\d+\.\d\d to [+-]\d+\.\d\d", decision.why)


def test_a_wider_margin_keeps_more() -> None:
    pairs = {1: both("accuracy", GOLD, GOOD, changed(40))}
    assert decide(compare("accuracy", pairs, margin=0.05)).outcome == "kept"


def test_not_being_able_to_tell_is_not_being_as_good() -> None:
    """Once said to be within noise: 15.7 against 19.5, interval -8.3 to +1.0."""
    draw = np.random.default_rng(7)
    gold = draw.normal(size=300)
    before, after = (share * gold + draw.normal(size=300) for share in (0.25, 0.2))
    labels = MetricLabels()
    decision = decide(compare("pearson", {1: both("pearson", gold, before, after, labels)}, labels))
    assert decision.outcome == "undecided"
    assert decision.why.startswith("300 rows cannot tell; ")


@pytest.mark.parametrize("rows", [100, 200, 300])
def test_models_that_agree_on_few_rows_are_not_yet_kept(rows: int) -> None:
    pairs = {1: both("accuracy", GOLD[:rows], GOOD[:rows], GOOD[:rows])}
    decision = decide(compare("accuracy", pairs))
    assert decision.outcome == "undecided"
    assert decision.rows_needed is not None
    assert 360 <= decision.rows_needed <= 470
    assert decision.why.startswith(f"{rows} rows cannot tell; about {decision.rows_needed} would (")


@pytest.mark.parametrize(("lost", "outcome"), [(5, "kept"), (14, "lost")])
def test_so_many_rows_of_the_same_kind_do_decide(lost: int, outcome: str) -> None:
    some = [part[:1000] for part in (GOLD, GOOD, changed(lost))]
    early = decide(compare("accuracy", {1: both("accuracy", *some)}))
    assert early.outcome == "undecided"
    assert early.rows_needed is not None
    times = -(-early.rows_needed // 1000)
    later = {many: [np.tile(part, many) for part in some] for many in (times // 2, times + 1)}
    found = {many: decide(compare("accuracy", {1: both("accuracy", *rows)})) for many, rows in later.items()}
    assert [one.outcome for one in found.values()] == ["undecided", outcome]


def test_an_absurd_number_of_rows_is_not_named() -> None:
    after = changed(36)  # 0.9000 points are lost, and 0.8975 may be
    decision = decide(compare("accuracy", {1: both("accuracy", GOLD, GOOD, after)}))
    assert decision.rows_needed is None
    assert "4000 rows cannot tell; more than a million would" in decision.why


def test_seeds_that_differ_ask_for_seeds_not_for_rows() -> None:
    pairs = {
        seed: both("accuracy", GOLD, GOOD, answers(GOLD, right, seed=seed)) for seed, right in ((1, 0.93), (2, 0.87))
    }
    decision = decide(compare("accuracy", pairs))
    assert (decision.outcome, decision.rows_needed) == ("undecided", None)
    assert decision.why.startswith("2 training seeds cannot tell, however many rows")


def test_f1_with_a_label_that_no_row_has_is_undecided() -> None:
    decision = decide(compare("f1", {1: both("f1", GOLD, GOLD, GOLD, THREE)}, THREE))
    assert decision.outcome == "undecided"
    assert decision.why.startswith("no row has the label 'rare'")


def test_a_baseline_of_nothing_has_no_margin() -> None:
    gold, never = np.array([0] * 9 + [1]), np.zeros(10, dtype=np.int64)
    decision = decide(compare("f1", {1: both("f1", gold, never, never)}))
    assert (decision.outcome, decision.margin_points) == ("undecided", None)
    assert decision.why == "the baseline scores 0.00, and no share of that is a margin"


def test_a_score_that_is_not_defined_decides_nothing() -> None:
    gold, labels = np.arange(300.0), MetricLabels()
    decision = decide(compare("spearman", {1: both("spearman", gold, gold, np.ones(300), labels)}, labels))
    assert verdict(decision) == (
        "undecided: spearman is not defined (the model answers every row alike), of the model after"
    )


def test_one_row_cannot_tell() -> None:
    decision = decide(compare("accuracy", {1: both("accuracy", GOLD[:1], GOLD[:1], GOLD[:1])}))
    assert verdict(decision) == "undecided: one row cannot tell"


def test_what_was_not_measured_is_said() -> None:
    alone = compare("accuracy", {1: (None, scores("accuracy", GOLD, GOOD))})
    assert re.fullmatch(r"not compared: the score is \d\d\.\d\d, and there is no baseline", verdict(decide(alone)))
    assert decide(alone).outcome is None
    bare = alone.before
    unscored = type(alone)(bare, bare, "accuracy", 0.01)
    assert verdict(decide(unscored)).startswith("not scored: ")
