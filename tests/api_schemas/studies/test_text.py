"""The table for spreadsheets and for people, whatever models and files are called."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from api_schemas.studies.request import Budget
from api_schemas.studies.shown import CellState, Study, StudyProgress, StudyRow, StudyStatus
from api_schemas.studies.table import table_of
from api_schemas.studies.text import as_csv, as_markdown
from tests.support.study_cells import cell, result

ROWS = table_of(
    [
        cell(result(90.0, 88.0), seed=1),
        cell(result(92.0, 89.0), seed=2),
        cell(strategy="bottom", drop=0.5, state=CellState.IMPOSSIBLE, reason="8 of 6 layers"),
        cell(strategy="bottom", drop=0.5, seed=2, state=CellState.IMPOSSIBLE, reason="8 of 6 layers"),
    ]
)
HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1"]


def study(rows: list[StudyRow], **changed: Any) -> Study:
    progress = StudyProgress(
        cells=4, by_state={CellState.SUCCEEDED: 2, CellState.IMPOSSIBLE: 2}, fraction=1.0, jobs=2, known=0,
        minutes=1.0, gpu_hours=0.0,
    )  # fmt: skip
    facts = {
        "id": "study_1", "name": "Mine", "status": StudyStatus.FINISHED, "created_at": datetime.now(UTC),
        "finished_at": None,
        "request": {}, "budget": Budget(), "progress": progress, "table": rows, **changed,
    }  # fmt: skip
    return Study(**facts)


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def rendered(text: str) -> tuple[list[list[str]], str]:
    """The cells of the table as a renderer shows them, and the whole page."""
    parser = MarkdownIt("commonmark").enable("table")
    rows: list[list[str]] = []
    for token in parser.parse(text):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and rows and len(rows[-1]) < 40 and token.level == 4:
            rows[-1].append("".join(child.content for child in token.children or []))
    return rows, parser.render(text)


def test_csv_is_one_line_a_row_with_numbers_as_numbers() -> None:
    text = as_csv(ROWS)
    assert text.count("\r\n") == 3
    scored, impossible = read(text)
    assert float(scored["score_after"]) == 88.5
    assert float(scored["score_after_std"]) == pytest.approx(0.5**0.5, abs=1e-5)
    assert float(scored["retention_low"]) < float(scored["retention"]) < float(scored["retention_high"])
    assert (scored["drop"], scored["dropped"], scored["seeds_scored"]) == ("2", "10 11", "2")
    assert (scored["parameters_after"], scored["published_score"], scored["front"]) == ("94000000", "62.82", "true")
    assert (impossible["score_after"], impossible["published_score"], impossible["front"]) == ("", "", "false")
    assert (impossible["states"], impossible["reasons"]) == ("2 impossible", "8 of 6 layers")


@pytest.mark.parametrize("name", HOSTILE)
def test_csv_is_no_formula(name: str) -> None:
    (row,) = read(as_csv(table_of([cell(task=name)])))
    assert row["task"] == f"'{name}"


def test_a_negative_number_stays_one() -> None:
    (row,) = read(as_csv(table_of([cell(result(50.0, -12.5))])))
    assert (row["score_after"], row["retention"]) == ("-12.5", "-0.25")


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_csv_gives_back_any_name(name: str) -> None:
    (row,) = read(as_csv(table_of([cell(model=name)])))
    assert row["model"].removeprefix("'") == name.removeprefix("'")
    assert not row["model"].startswith(("=", "+", "-", "@"))


def test_markdown_is_a_table_that_a_renderer_shows() -> None:
    rows, page = rendered(as_markdown(study(ROWS, warnings=["speeds do not compare"])))
    scored, impossible = (dict(zip(rows[0], row, strict=True)) for row in rows[1:])
    assert (scored["after"], scored["layers"], scored["published"]) == ("88.50 ± 0.71", "10 of 12", "62.82 of 67.87")
    assert (scored["front"], impossible["front"], impossible["after"]) == ("yes", "", "")
    assert "<h1>Mine</h1>" in page
    assert "Finished: 4 cells (2 succeeded, 2 impossible)." in page
    assert "speeds do not compare" in page
    assert "tables 1 and 6 (printed)" in page
    assert "bottom of 0.5 on rte by bert-base-uncased, finetune, seed 1, 2: impossible, 8 of 6 layers" in page


def test_columns_that_nothing_is_known_of_are_left_out() -> None:
    rows, _ = rendered(as_markdown(study(table_of([cell()]))))
    assert rows[0] == ["model", "task", "strategy", "drop", "recovery", "effort"]
    assert "|" not in as_markdown(study([]))


@pytest.mark.parametrize(
    "name",
    ["a|b", "<img src=x onerror=y>", "[x](http://e)", "*x* `y` __z__ ~~s~~", "a\n\n# b", "\\|", "\u202ex", "|---|"],
)
def test_hostile_names_are_only_text(name: str) -> None:
    text = as_markdown(study(table_of([cell(task=name, reason=name)]), name=name, warnings=[name]))
    rows, page = rendered(text)
    assert [len(row) for row in rows] == [6, 6]
    shown = " ".join("".join(character if character.isprintable() else " " for character in name).split())
    assert rows[1][1] == shown
    assert not any(tag in page for tag in ("<img", "<a ", "<em>", "<strong>", "<code>", "<s>"))
    assert page.count("<h1>") == 1
