"""A study as people read it: its table, a row a combination, and what stands above it."""

# ruff: noqa: PLC0415 - rich is for tables and bars

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from cli.texts import plain

if TYPE_CHECKING:
    from rich.table import Table

    from api_schemas.studies.shown import Pick, Spread, Study, StudyHead, StudyRow

#: By the outcome of a row.
COLOURS = {"kept": "green", "better": "green", "lost": "red", "undecided": "yellow"}
FRONT = "★"


class Column(NamedTuple):
    """``shared``: left out where all rows have the same, which is then said above the table."""

    name: str
    text: Callable[[StudyRow], str]
    right: bool = False
    shared: bool = False


def rows_table(rows: Sequence[StudyRow]) -> Table:
    from rich.table import Table
    from rich.text import Text

    shown = [column for column in COLUMNS if not (column.shared and _is_same(column, rows))]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in shown:
        table.add_column(column.name, justify="right" if column.right else "left", overflow="fold")
    for row in rows:
        style = COLOURS.get(row.outcome or "", "")
        cells = [Text(plain(column.text(row)), style=style if column.name == "verdict" else "") for column in shown]
        table.add_row(*cells, style="bold" if row.front else None)
    return table


def study_lines(study: Study) -> Iterator[tuple[str, object]]:
    """What is said above the table, in pairs."""
    from api_schemas.progress_texts import cells_of, left, percent

    done = study.progress
    yield "id", study.id
    yield "name", study.name
    yield "status", f"{study.status.value}{f' ({study.status_reason})' if study.status_reason else ''}"
    yield "cells", f"{done.cells}: {cells_of(done.by_state, done.known)}"
    if study.status.value == "running":
        yield "done", ", ".join(filter(None, [percent(done.fraction), left(done.eta_seconds)]))
    yield "took", f"{done.minutes:.1f} min, {done.jobs} jobs, {done.gpu_hours:.2f} GPU hours"
    yield "budget", _budget(study)
    if study.table:
        for column in COLUMNS:
            if column.shared and _is_same(column, study.table):
                yield column.name, column.text(study.table[0])
    yield from (("warning", warning) for warning in study.warnings)
    if any(row.front for row in study.table):
        yield FRONT, "no other row of its model and task is both faster (or smaller) and better"


def studies_table(studies: Iterable[StudyHead]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from api_schemas.progress_texts import cells_of, percent

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("id", "status", "name", "done", "cells", "created"):
        table.add_column(name, no_wrap=name in ("id", "status", "created"), overflow="fold")
    for study in studies:
        done = study.progress
        row = (
            study.id,
            study.status.value,
            study.name or "",
            percent(done.fraction),
            f"{done.cells}: {cells_of(done.by_state, done.known)}",
            study.created_at.isoformat(sep=" ", timespec="minutes"),
        )
        table.add_row(*(Text(plain(text)) for text in row))
    return table


def picks_table(picks: Iterable[Pick]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("model", "task", "job", "strategy", "drop", "retention", "speed", "size", "why"):
        table.add_column(name, no_wrap=name == "job", overflow="fold")
    for pick in picks:
        row = pick.row
        of_row = ("-",) * 5 if row is None else (row.strategy, drop_of(row), retention(row), speed(row), size(row))
        cells = (pick.model, pick.task, pick.job_id or "none", *of_row, pick.reason)
        table.add_row(*(Text(plain(text)) for text in cells))
    return table


def spread(found: Spread | None, digits: int = 2) -> str:
    if found is None:
        return "-"
    std = "" if found.std is None else f" ± {found.std:.{digits}f}"
    return f"{found.mean:.{digits}f}{std}"


def drop_of(row: StudyRow) -> str:
    return f"{row.drop:g}" if row.drop >= 1 else f"{row.drop:.0%}"


def retention(row: StudyRow) -> str:
    if row.retention is None:
        return "-"
    within = row.retention_interval
    ends = "" if within is None else f" [{100 * within.low:.1f}, {100 * within.high:.1f}]"
    return f"{100 * row.retention.mean:.1f} %{ends}"


def size(row: StudyRow) -> str:
    if row.bytes_after is None:
        return "-"
    share = f" ({row.bytes_after / row.bytes_before:.0%})" if row.bytes_before else ""
    return f"{row.bytes_after / 1e6:,.1f} MB{share}"


def speed(row: StudyRow) -> str:
    return "-" if row.speedup is None else f"{row.speedup.mean:.2f} x"


def _seeds(row: StudyRow) -> str:
    ended = sum(not cell.state.open for cell in row.cells)
    return f"{ended}/{len(row.cells)}"


def _verdict(row: StudyRow) -> str:
    """The outcome; where there is none, what became of its cells, and why."""
    if row.outcome is not None:
        return row.outcome
    states = list(dict.fromkeys(cell.state.value for cell in row.cells))
    reasons = dict.fromkeys(cell.reason for cell in row.cells if cell.reason)
    return ": ".join(filter(None, [", ".join(states), next(iter(reasons), None)]))


def _published(row: StudyRow) -> str:
    found = row.published
    if found is None or found.score is None:
        return "-"
    kept = "" if found.retention is None else f" ({100 * found.retention:.1f} %)"
    return f"{found.score:.2f}{kept}"


def _budget(study: Study) -> str | None:
    given = study.budget.model_dump(exclude_none=True)
    return ", ".join(f"{value:g} {name.replace('_', ' ')}" for name, value in given.items()) or None


def _is_same(column: Column, rows: Sequence[StudyRow]) -> bool:
    return len({column.text(row) for row in rows}) <= 1


COLUMNS = (
    Column("", lambda row: FRONT if row.front else ""),
    Column("model", lambda row: row.model, shared=True),
    Column("task", lambda row: row.task),
    Column("recovery", lambda row: row.recovery, shared=True),
    Column("effort", lambda row: row.effort, shared=True),
    Column("strategy", lambda row: row.strategy),
    Column("drop", drop_of, right=True),
    Column("seeds", _seeds, right=True),
    Column("before", lambda row: spread(row.score_before), right=True),
    Column("score", lambda row: spread(row.score_after), right=True),
    Column("retention", retention, right=True),
    Column("verdict", _verdict),
    Column("size", size, right=True),
    Column("speed", speed, right=True),
    Column("published", _published, right=True),
)
