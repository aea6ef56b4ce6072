"""A study as it is watched and shown: what a log says, what a terminal shows, and what a table has."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from cli.exits import Exit
from cli.remote.study_tables import rows_table, study_lines
from cli.remote.study_views import StudyBar, StudyJson, StudyLines, exit_of
from tests.support.studies import cell, row, study


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def table(*rows: object) -> str:
    out = io.StringIO()
    Console(file=out, width=200).print(rows_table(rows))  # type: ignore[arg-type]
    return out.getvalue()


STORY = [
    study(row(cell(0, "running", fraction=0.4), cell(1, "waiting", seed=7))),
    study(row(cell(0), cell(1, "running", seed=7))),
    study(row(cell(0), cell(1, "failed", seed=7, reason="out of memory \x1b[2J [bold]")), status="finished"),
]


def test_a_log_has_a_line_for_each_cell_that_ends_and_one_of_the_whole_now_and_then() -> None:
    out, now = io.StringIO(), [0.0]
    with StudyLines(out, lambda: now[0]) as view:
        for moved in STORY:
            view(moved)
            now[0] += 1
    assert out.getvalue().splitlines() == [
        "running      0 %  0 of 2 cells  1 waiting  1 running  about 2 min left",
        "succeeded    rte top 2 seed 42  90.00 -> 89.00  98.9 %  undecided",
        "failed       rte top 2 seed 7  out of memory ?[2J [bold]",
        "finished     100 %  2 of 2 cells  1 succeeded  1 failed",
    ]


def test_what_had_ended_before_is_counted_and_not_told_again() -> None:
    out = io.StringIO()
    view = StudyLines(out)
    view(study(row(cell(0, known=True), cell(1, "queued", seed=7)), known=1))
    assert out.getvalue().splitlines()[0] == "before       1 of 2 cells had ended, 1 of them known from earlier jobs"


def test_a_program_gets_a_line_of_json_for_each_change() -> None:
    out = io.StringIO()
    for moved in STORY:
        StudyJson(out)(moved)
    told = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [one["progress"]["by_state"] for one in told][-1] == {"succeeded": 1, "failed": 1}
    assert "table" not in told[0]


def test_a_terminal_has_a_bar_with_what_runs_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    out = Terminal()
    with StudyBar(out) as view:
        for moved in STORY[:2]:
            view(moved)
            view._live.refresh()
    shown = out.getvalue()
    assert "0 of 2 cells  1 waiting  1 running" in shown
    assert "now: rte top 2 seed 42 40 %" in shown
    assert "50 %" in shown
    assert "about 2 min left" in shown
    assert "succeeded    rte top 2 seed 42" in shown


@pytest.mark.parametrize(
    ("found", "code", "said"),
    [
        (study(row(cell(0), cell(1, "impossible"), cell(2, "stopped")), status="finished"), Exit.DONE, ""),
        (STORY[-1], Exit.FAILED, "1 of 2 cells failed: layercut study resume study_1 --retry-failed"),
        (study(row(cell(0), cell(1, "unpaid")), status="paused"), Exit.FAILED, "the budget is used up"),
        (study(row(cell(0, "cancelled")), status="cancelled"), Exit.FAILED, ""),
    ],
)  # fmt: skip
def test_how_it_ended_is_the_exit_code(
    found: object, code: Exit, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_of(found) is code  # type: ignore[arg-type]
    told = capsys.readouterr().err
    assert said in told
    assert bool(said) == bool(told)


def test_the_table_has_the_numbers_the_front_and_why_there_are_none() -> None:
    shown = table(
        row(
            cell(0), cell(1, seed=7, after=88.0), front=True, outcome="undecided",
            retention_interval={"low": 0.95, "high": 1.01, "confidence": 0.95},
            published={"score": 62.82, "baseline": 67.87, "retention": 0.9256, "source": "x"},
        ),
        row(cell(2, "impossible", reason="8 of 6 layers \x1b[31m"), drop=8),
        row(cell(3, "running"), cell(4, "failed", reason="it broke"), drop=0.33),
    )  # fmt: skip
    first, *lines = shown.splitlines()[1:]
    assert " ".join(first.split()) == (
        "★ rte top 2 2/2 90.00 88.50 ± 0.50 98.3 % [95.0, 101.0] undecided 60.0 MB (67%) 1.50 x 62.82 (92.6 %)"
    )
    assert "impossible: 8 of 6 layers ?[31m" in lines[0]
    assert "33%" in lines[1]
    assert "1/2" in lines[1]
    assert "running, failed: it broke" in lines[1]


def test_what_all_rows_have_alike_is_said_once_above() -> None:
    alike = study(row(cell(0)), row(cell(1), task="mrpc"))
    assert dict(study_lines(alike))["model"] == "m/MiniLM"
    assert "MiniLM" not in table(*alike.table)
    several = study(row(cell(0)), row(cell(1), model="m/BERT", recovery="finetune"))
    assert "model" not in dict(study_lines(several))
    assert "m/BERT" in table(*several.table)
    assert "finetune" in table(*several.table)
