"""Which rows of ours a published number stands beside, and what is said of what they were given."""

from __future__ import annotations

from typing import Any

import pytest

from api_schemas.recovery import RecoverySpec
from api_schemas.studies.paper import paper_tables
from api_schemas.studies.shown import PublishedNumber
from api_schemas.studies.table import table_of
from tests.support.study_cells import cell, result


def beside(found: dict[str, Any] | None = None, **changed: Any) -> PublishedNumber | None:
    (row,) = table_of([cell(result(**(found or {})), **changed)])
    return row.published


def note(**changed: Any) -> str:
    found = beside(**changed)
    assert found is not None
    return found.note or ""


def spec(**given: Any) -> RecoverySpec:
    return RecoverySpec.model_validate({"method": "finetune", **given})


def test_a_row_of_the_papers_cell_has_its_number() -> None:
    found = beside(spec=spec())
    assert found is not None
    assert found.source.startswith("Sajjad et al.")
    assert "this row" not in (found.note or "")


@pytest.mark.parametrize(
    "changed",
    [
        {"own_data": True},
        {"spec": spec(**{"from": "job:job_" + "0" * 24})},
        {"found": {"layers_dropped": [8, 11]}},
        {"found": {"layers_total": 24, "layers_dropped": [22, 23]}},
        {"model_id": "acme/bert"},
        {"task_name": "reviews"},
    ],
    ids=["own data", "from another job", "protected layers", "another depth", "another model", "another task"],
)
def test_one_that_is_another_cell_has_none(changed: dict[str, Any]) -> None:
    assert beside(**changed) is None


def test_labels_that_tell_two_apart_are_not_what_a_number_is_looked_up_by() -> None:
    found = beside(
        model="bert #2", model_id="bert-base-uncased", task="rte #2", task_name="rte", recovery="finetune #2"
    )
    assert found == beside()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"max_train_rows": 500}, "this row has learnt from 500 rows at most, the paper's from all"),
        ({"spec": spec(epochs=10, learning_rate=1e-5)}, "this row's recovery has values of its own: "),
        ({"spec": spec(method="distill")}, "the paper fine-tunes, and this row distils"),
    ],
)
def test_what_the_row_was_given_and_the_papers_was_not_is_said(changed: dict[str, Any], said: str) -> None:
    assert said in note(**changed)
    assert said not in note()


def test_values_of_its_own_are_named() -> None:
    assert note(spec=spec(epochs=10)).split(";")[0] == "this row's recovery has values of its own: epochs"


@pytest.mark.parametrize(
    ("found", "changed"),
    [({"layers_dropped": [8, 11]}, {}), ({}, {"own_data": True}), ({}, {"strategy": "symmetric"})],
    ids=["protected layers", "own data", "another strategy"],
)
def test_such_rows_are_in_no_table_of_the_papers(found: dict[str, Any], changed: dict[str, Any]) -> None:
    assert paper_tables(table_of([cell(result(**found), **changed)])) == paper_tables([])


def test_two_recoveries_of_one_method_have_a_line_each() -> None:
    rows = table_of([cell(result(90.0, score), recovery=f"finetune #{at}") for at, score in ((1, 88.0), (2, 86.0))])
    table = paper_tables(rows)[0]
    rte = table.columns.index("RTE")
    found = {line[2]: line[rte] for line in table.rows if line[:2] == ["BERT", "2"] and line[2] != "published"}
    assert found == {"bert-base-uncased, finetune #1": "88.00", "bert-base-uncased, finetune #2": "86.00"}
