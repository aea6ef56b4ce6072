"""A published number stands beside its very cell, and nowhere else."""

from __future__ import annotations

import pytest

from api_schemas.strategies import STRATEGIES
from api_schemas.studies.published import published, published_of
from api_schemas.studies.shown import PublishedNumber
from api_schemas.tasks import TASKS


def number(**changed: object) -> PublishedNumber | None:
    facts = {
        "model": "google-bert/bert-base-uncased",
        "task": "sst2",
        "strategy": "top",
        "dropped_count": 4,
        "layers_total": 12,
        "metric": "accuracy",
        "recovery_method": "finetune",
        **changed,
    }
    return published_of(**facts)  # type: ignore[arg-type]


def test_it_is_as_printed_with_its_source() -> None:
    found = number()
    assert found is not None
    assert (found.score, found.baseline, found.retention) == (90.60, 92.43, 0.9802)
    assert found.source == "Sajjad et al., arXiv 2004.03844 v1, tables 1 and 6 (printed)"
    assert found.note == "whether its BERT is cased is not said; one run"


@pytest.mark.parametrize(
    "other",
    [
        {"model": "bert-large-uncased", "layers_total": 24},
        {"model": "/models/bert-base-uncased"},
        {"model": "bert-base-uncased ", "task": "sst2"},
        {"task": "cola"},
        {"task": "reviews.csv"},
        {"strategy": "symmetric"},
        {"dropped_count": 3},
        {"dropped_count": 0},
        {"layers_total": 10},
        {"task": "mrpc", "metric": "f1"},
        {"metric": "f1"},
        {"recovery_method": "none"},
    ],
)
def test_where_nothing_is_published_there_is_nothing(other: dict[str, object]) -> None:
    assert number(**other) is None


@pytest.mark.parametrize(
    ("changed", "score", "said"),
    [
        ({"recovery_method": "distill"}, 90.60, "the paper fine-tunes, and this row distils"),
        ({"recovery_method": "auto"}, 90.60, "the paper fine-tunes, and this row distils"),
        ({"task": "stsb", "metric": "pearson"}, 88.64, "which correlation"),
        ({"task": "mrpc"}, 79.41, "accuracy, not F1"),
        ({"task": "mnli", "metric": None}, 82.51, "whether matched or mismatched is not said"),
        ({"dropped_count": 6}, 90.25, "table 5 prints 92.25"),
        ({"model": "roberta-base"}, 93.00, "under-trained"),
        ({"model": "distilbert-base-uncased", "layers_total": 6, "dropped_count": 3}, 87.50, "one run"),
    ],
)
def test_what_keeps_it_from_being_the_same_is_said(changed: dict[str, object], score: float, said: str) -> None:
    found = number(**changed)
    assert found is not None
    assert found.score == score
    assert said in (found.note or "")


def test_each_name_is_one_of_ours() -> None:
    facts = published()
    assert set(facts.tasks) <= set(TASKS)
    for name, task in facts.tasks.items():
        assert TASKS[name].headline in task.metrics
    assert set(facts.averages.strategies) <= set(STRATEGIES)
    names = {model.name for model in facts.models}
    tables = (facts.top, facts.averages, facts.droppable, facts.speed, facts.distilled, facts.order, facts.pairs)
    for table in tables:
        assert {row.model for row in table.rows} <= names
        assert table.source in facts.sources


def test_tables_that_print_the_same_cell_agree_but_for_the_misprint() -> None:
    facts = published()
    top = {(row.model, row.dropped): dict(zip(facts.top.tasks, row.scores, strict=True)) for row in facts.top.rows}
    for row in facts.distilled.rows:
        scores = dict(zip(facts.distilled.tasks, row.scores, strict=True))
        assert scores.items() <= top[row.model, row.dropped].items()
    for line in facts.order.rows:
        if line.from_ == "pre-trained":
            scores = dict(zip(facts.order.tasks, line.scores, strict=True))
            unlike = {task for task, score in scores.items() if top[line.model, 6][task] != score}
            assert unlike == ({"sst2"} if line.model == "BERT" else set())


def test_bars_that_are_printed_too_were_read_right() -> None:
    """Figures 2 and 3 draw means whose scores table 1 prints."""
    facts = published()
    top = {(row.model, row.dropped): row.scores for row in facts.top.rows}
    at = facts.averages.strategies.index("top")
    for row in facts.averages.rows:
        scores = [score or 0 for score in top[row.model, row.dropped]]
        assert row.scores[at] == pytest.approx(sum(scores) / 7, abs=0.05)


def test_losses_of_table_3_are_those_of_table_1() -> None:
    facts = published()
    means = {(row.model, row.dropped): sum(score or 0 for score in row.scores) / 7 for row in facts.top.rows}
    for row in facts.speed.rows:
        assert row.loss == pytest.approx(means[row.model, 0] - means[row.model, row.dropped], abs=0.02)
