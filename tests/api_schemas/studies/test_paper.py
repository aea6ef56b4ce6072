"""The paper's tables with ours beside them, and the study that fills them."""

from __future__ import annotations

from typing import Any

import pytest

from api_schemas.plans import drop_count
from api_schemas.pruning import PruneSpec
from api_schemas.studies.grid import cells_of, count_cells
from api_schemas.studies.paper import PaperTable, paper_grid, paper_tables
from api_schemas.studies.request import StudyRequest
from api_schemas.studies.shown import StudyRow
from api_schemas.studies.table import table_of
from tests.support.reports import FACTS
from tests.support.study_cells import cell, result

BERT = "bert-base-uncased"


def rows_of(count: int, *scores: tuple[float, float], total: int = 12, **facts: Any) -> list[StudyRow]:
    dropped = list(range(total - count, total))
    return table_of(
        [
            cell(result(*pair, layers_dropped=dropped, layers_total=total), seed=seed, drop=count, **facts)
            for seed, pair in enumerate(scores)
        ]
    )


def lines(table: PaperTable, *begin: str) -> list[dict[str, str]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows if row[: len(begin)] == list(begin)]


def test_without_a_run_they_are_the_papers() -> None:
    tables = paper_tables([])
    assert [table.number for table in tables] == [1, 2, 3, 4, 5]
    for table in tables:
        assert {row[2] for row in table.rows} == {"published"}
        assert all(len(row) == len(table.columns) for row in table.rows)
        assert "arXiv 2004.03844 v1" in table.notes[0]
    (line,) = lines(tables[0], "BERT", "4")
    assert line["MRPC"] == "79.41"


def test_ours_stand_beneath_by_task_and_what_was_not_run_is_empty() -> None:
    first = paper_tables(rows_of(4, (90.0, 88.0), (92.0, 89.0)))[0]
    paper, ours = lines(first, "BERT", "4")
    assert (paper["whose"], paper["RTE"]) == ("published", "67.87")
    assert (ours["whose"], ours["RTE"], ours["SST-2"]) == (f"{BERT}, finetune", "88.50 ± 0.71", "")
    _, full = lines(first, "BERT", "0")
    assert full["RTE"] == "91.00 ± 1.41"


def test_a_model_and_a_task_of_ones_own_follow() -> None:
    first = paper_tables(rows_of(3, (90.0, 88.0), total=6, model="mini", task="reviews.csv"))[0]
    (line,) = lines(first, "mini", "3")
    assert (line["whose"], line["reviews.csv"], line["RTE"]) == ("mini, finetune", "88.00", "")


@pytest.mark.parametrize(
    ("losses", "within"),
    [
        ({2: 0.5, 4: 3.5}, ("2-3", "2-3", "2-3")),
        ({1: 0.5, 2: 1.5, 3: 2.5, 4: 9}, ("1", "2", "3")),
        ({2: 0.5, 6: 1.5}, ("2-5", "≥ 6", "≥ 6")),
        ({1: 1.5}, ("0", "≥ 1", "≥ 1")),
        ({4: 5.0}, ("0-3", "0-3", "0-3")),
    ],
)
def test_layers_that_may_go_are_as_certain_as_the_drops_that_were_run(
    losses: dict[int, float], within: tuple[str, ...]
) -> None:
    rows = [row for count, loss in losses.items() for row in rows_of(count, (90.0, 90.0 - loss))]
    table = paper_tables(rows)[1]
    ours = [line for line in lines(table, "BERT") if line["whose"] != "published"]
    assert tuple(line["RTE"] for line in ours) == within


def test_the_loss_is_the_mean_of_the_tasks_that_were_run() -> None:
    rows = [*rows_of(2, (90.0, 88.0)), *rows_of(2, (90.0, 89.0), task="sst2")]
    paper, ours = lines(paper_tables(rows)[2], "BERT", "2")
    assert (paper["loss"], paper["parameters"], paper["fine-tuning"], paper["inference time"]) == (
        "1.33", "94 M", "1.24 ×", "-17 %",
    )  # fmt: skip
    assert (ours["loss"], ours["parameters"], ours["fine-tuning"], ours["inference time"]) == (
        "1.50 (2)", "94 M", "", "-17 %",
    )  # fmt: skip


def test_a_distilled_model_is_full_beside_the_halved_ones() -> None:
    rows = [*rows_of(2, (80.0, 79.0), total=6, model="distilbert-base-uncased"), *rows_of(6, (90.0, 85.0))]
    table = paper_tables(rows)[3]
    assert [line["RTE"] for line in lines(table, "DistilBERT", "0")] == ["", "80.00"]
    assert [line["RTE"] for line in lines(table, "BERT", "6")] == ["", "85.00"]


def test_distilled_rows_are_those_dropped_from_the_fine_tuned_model() -> None:
    rows = [*rows_of(6, (90.0, 85.0)), *rows_of(6, (90.0, 87.0), recovery="distill")]
    table = paper_tables(rows)[4]
    assert [line["RTE"] for line in lines(table, "BERT", "pre-trained")] == ["", "85.00"]
    assert [line["RTE"] for line in lines(table, "BERT", "fine-tuned")] == ["", "87.00"]
    assert lines(table, "BERT", "pre-trained")[0]["SST-2"] == "92.25"


def test_other_strategies_and_rows_without_a_score_are_not_in_them() -> None:
    rows = [*rows_of(2, (90.0, 88.0), strategy="bottom"), *table_of([cell(layers_total=12, dropped=[10, 11])])]
    assert paper_tables(rows) == paper_tables([])


def test_the_grid_is_the_papers() -> None:
    study = StudyRequest.model_validate(paper_grid())
    assert count_cells(study, 1000) == 4 * 7 * 5 * 3
    assert study.impossible == "skip"
    assert len(list(cells_of(study))) == 420
    assert [recovery.method for recovery in study.recoveries] == ["finetune"]


@pytest.mark.parametrize(
    ("models", "drops"),
    [
        ([BERT, "roberta-base"], [2, 4, 6]),
        (["distilbert-base-uncased"], [1, 2, 3]),
        ([BERT, "distilbert-base-uncased"], [0.1667, 0.3333, 0.5]),
        (["/models/own"], [0.1667, 0.3333, 0.5]),
    ],
)
def test_drops_are_those_of_the_models_depth(models: list[str], drops: list[float]) -> None:
    assert paper_grid(models)["drops"] == drops


@pytest.mark.parametrize(("total", "counts"), [(12, [2, 4, 6]), (6, [1, 2, 3])])
def test_shares_are_the_papers_counts(total: int, counts: list[int]) -> None:
    facts = FACTS.model_copy(update={"layers": total})
    shares = paper_grid()["drops"]
    assert [drop_count(PruneSpec(strategy="top", drop_ratio=share), facts, total) for share in shares] == counts


def test_it_scales_to_a_laptop() -> None:
    study = StudyRequest.model_validate(paper_grid(["mini"], ["rte"], [2], rows=500, strategies=["top"], seeds=[1, 2]))
    assert count_cells(study, 10) == 2
    assert (study.tasks[0].name, study.tasks[0].max_train_rows) == ("rte", 500)
