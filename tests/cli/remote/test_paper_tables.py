"""The paper's tables beside ours: what is printed, and what of a second study goes into table 5."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api_schemas.studies.request import StudyRequest
from api_schemas.studies.shown import Study
from cli.remote.paper import _bodies
from cli.remote.paper_tables import AGAIN, print_tables, tables_of
from tests.support.studies import cell, row, study

BERT = "google-bert/bert-base-uncased"
LAPTOP = "/srv/models/MiniLM"


def scored(after: float, **more: Any) -> Any:
    return row(
        cell(0, after=after), **{"recovery": "finetune", "layers_total": 12, "layers_kept": 6, "drop": 6, **more}
    )


def shown(found: list[Study], capsys: pytest.CaptureFixture[str], **how: bool) -> str:
    print_tables(tables_of(found), found, **{"markdown": False, "as_json": False, **how})
    return capsys.readouterr().out


GRID = study(
    scored(81.5, model=BERT, task="mnli"),
    scored(70.0, model=LAPTOP, task="rte", layers_total=6, layers_kept=3, drop=3),
    status="finished",
)
AFTER = study(
    row(cell(0, after=82.25), model=BERT, task="mnli", layers_total=12, layers_kept=6, drop=0.5),
    status="finished", request={"recoveries": [AGAIN]},
)  # fmt: skip


def test_ours_stands_beneath_what_is_published(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown([GRID], capsys).splitlines()
    at = next(at for at, line in enumerate(lines) if line.split()[:3] == ["BERT", "6", "published"])
    assert "81.13" in lines[at]
    assert lines[at + 1].split()[:4] == ["BERT", "6", f"{BERT},", "finetune"]
    assert "81.50" in lines[at + 1]
    assert [line[:7] for line in lines if line.startswith("Table ")] == [f"Table {n}" for n in range(1, 6)]
    assert any(line.split()[:2] == ["MiniLM", "3"] and "70.00" in line for line in lines)


def test_a_second_study_is_a_line_of_table_5_alone(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(shown([GRID, AFTER], capsys, as_json=True))
    assert found["studies"] == ["study_1", "study_1"]
    order = found["tables"][4]
    ours = [line for line in order["rows"] if line[2] == f"{BERT}, fine-tuned again"]
    assert [(line[1], line[order["columns"].index("MNLI")]) for line in ours] == [("fine-tuned", "82.25")]
    assert order["rows"].index(ours[0]) > order["rows"].index(
        next(r for r in order["rows"] if r[:2] == ["BERT", "fine-tuned"])
    )
    assert "82.25" not in json.dumps(found["tables"][:4])
    assert all(len(line) == len(order["columns"]) for line in order["rows"])


def test_as_markdown_they_are_tables_with_notes(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown([GRID], capsys, markdown=True)
    assert text.startswith("## Table 1: ")
    assert "| model | dropped | whose | SST-2 |" in text
    assert "- Sajjad et al., arXiv 2004.03844" in text


def test_what_is_asked_for_is_a_study_of_the_paper_s_grid() -> None:
    asked = {"model": [LAPTOP], "task": ["rte,mrpc"], "drop": ["1,2"], "strategy": None, "seed": ["1,2"]}
    bodies = _bodies({**asked, "recovery": None, "effort": None}, 300, table5=True)
    first, second = (StudyRequest.model_validate(body) for body in bodies)
    assert [task.max_train_rows for task in first.tasks] == [300, 300]
    assert (first.drops, first.seeds, [one.method for one in first.recoveries]) == ([1, 2], [1, 2], ["finetune"])
    assert (second.drops, second.strategies) == ([0.5], ["top"])
    assert second.recoveries[0].model_dump(exclude_unset=True) == AGAIN
    whole = StudyRequest.model_validate(_bodies(dict.fromkeys([*asked, "recovery", "effort"]), None, table5=False)[0])
    assert (len(whole.models), len(whole.tasks)) == (4, 7)
