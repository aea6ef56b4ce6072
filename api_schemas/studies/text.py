"""A study's table as CSV and as Markdown."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from api_schemas.markdown import line, table
from api_schemas.studies.shown import Spread, Study, StudyCell, StudyRow

Value = str | int | float | bool | None

#: What makes a formula of a cell, at its beginning (OWASP, CSV injection); the last four are the wide forms of the
#: first, which some spreadsheets take as well.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def _mean(of: str) -> Callable[[StudyRow], Value]:
    return lambda row: spread.mean if (spread := getattr(row, of)) else None


def _std(of: str) -> Callable[[StudyRow], Value]:
    return lambda row: spread.std if (spread := getattr(row, of)) else None


def _of(name: str) -> Callable[[StudyRow], Value]:
    return lambda row: getattr(row, name)


def _of_published(name: str) -> Callable[[StudyRow], Value]:
    return lambda row: getattr(row.published, name, None)


def _spread(name: str) -> dict[str, Callable[[StudyRow], Value]]:
    return {name: _mean(name), f"{name}_std": _std(name)}


#: Of the CSV: additions go to the end of a group, for whoever reads by name.
COLUMNS: dict[str, Callable[[StudyRow], Value]] = {
    **{name: _of(name) for name in ("model", "task", "strategy", "drop", "recovery", "effort")},
    "cells": lambda row: len(row.cells),
    "seeds_scored": lambda row: row.score_after.count if row.score_after else 0,
    **{name: _of(name) for name in ("layers_total", "layers_kept")},
    "dropped": lambda row: None if row.dropped is None else " ".join(map(str, row.dropped)),
    "metric": _of("metric"),
    **_spread("score_before"),
    **_spread("score_after"),
    **_spread("retention"),
    "retention_low": lambda row: row.retention_interval.low if row.retention_interval else None,
    "retention_high": lambda row: row.retention_interval.high if row.retention_interval else None,
    **{name: _of(name) for name in ("outcome", "verdict")},
    **{name: _of(name) for name in ("parameters_before", "parameters_after", "bytes_before", "bytes_after")},
    **_spread("speedup"),
    **_spread("latency_ms"),
    "device": _of("device"),
    **{f"published_{name}": _of_published(name) for name in ("score", "baseline", "retention", "source", "note")},
    "front": _of("front"),
    "states": lambda row: "; ".join(f"{count} {state}" for state, count in _states(row).items()),
    "reasons": lambda row: "; ".join(dict.fromkeys(cell.reason for cell in row.cells if cell.reason)),
    "jobs": lambda row: " ".join(cell.job_id for cell in row.cells if cell.job_id),
}


def as_csv(rows: Iterable[StudyRow]) -> str:
    """RFC 4180, one line a row. Text that a spreadsheet would compute is begun with an apostrophe."""
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(COLUMNS)
    writer.writerows([_in_csv(value(row)) for value in COLUMNS.values()] for row in rows)
    return written.getvalue()


def _in_csv(value: Value) -> str | int | float:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return int(value) if value.is_integer() else round(value, 6)
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA) or value.lstrip().startswith(FORMULA) else value
    return value


def as_markdown(study: Study) -> str:
    """The table, what is to be known of it, whose numbers the published ones are, and why cells have no result."""
    columns = {name: [write(row) for row in study.table] for name, (write, _) in SHOWN.items()}
    filled = [name for name, cells in columns.items() if any(cells)]
    shown = table(
        filled,
        list(zip(*(columns[name] for name in filled), strict=True)),
        [SHOWN[name][1] for name in filled],
    )
    parts = [
        f"# {_line(study.name or study.id)}\n",
        _state(study),
        _list("", study.warnings),
        shown if filled else "",
        _list("Published:", dict.fromkeys(_sources(study.table))),
        _list("Without a result:", _missing(study.table)),
    ]
    return "\n".join(part for part in parts if part)


def _state(study: Study) -> str:
    states = ", ".join(f"{count} {state}" for state, count in study.progress.by_state.items())
    reason = f" {_line(study.status_reason)}" if study.status_reason else ""
    return f"{study.status.capitalize()}: {study.progress.cells} cells ({states}).{reason}\n"


def _list(title: str, items: Iterable[str]) -> str:
    listed = "".join(f"- {_line(item)}\n" for item in items)
    return f"{title}\n\n{listed}" if listed and title else listed


def _sources(rows: Iterable[StudyRow]) -> Iterator[str]:
    for row in rows:
        if row.published is not None:
            note = f": {row.published.note}" if row.published.note else ""
            yield f"{row.model}, {row.task}: {row.published.source}{note}"


def _missing(rows: Iterable[StudyRow]) -> Iterator[str]:
    """One line for all seeds of a row that have the same reason."""
    for row in rows:
        seeds: dict[tuple[str, str], list[StudyCell]] = {}
        for cell in row.cells:
            if cell.reason:
                seeds.setdefault((cell.state, cell.reason), []).append(cell)
        for (state, reason), cells in seeds.items():
            of = f"{row.strategy} of {row.drop:g} on {row.task} by {row.model}, {row.recovery}"
            yield f"{of}, seed {', '.join(str(cell.seed) for cell in cells)}: {state}, {reason}"


def _states(row: StudyRow) -> Counter[str]:
    return Counter(cell.state.value for cell in row.cells)


def _line(text: str) -> str:
    """What is not printable could turn the text around it, or end a terminal's line."""
    return line("".join(character if character.isprintable() else " " for character in text))


def _plus_minus(spread: Spread | None, factor: int = 1) -> str:
    if spread is None:
        return ""
    mean = f"{factor * spread.mean:.2f}"
    return mean if spread.std is None else f"{mean} ± {factor * spread.std:.2f}"


def _interval(row: StudyRow) -> str:
    interval = row.retention_interval
    return "" if interval is None else f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"


def _published(row: StudyRow) -> str:
    found = row.published
    if found is None or found.score is None:
        return ""
    return f"{found.score:.2f}" if found.baseline is None else f"{found.score:.2f} of {found.baseline:.2f}"


#: Of Markdown: how a row's cell is written, and whether it stands to the right. Empty ones are left out.
SHOWN: dict[str, tuple[Callable[[StudyRow], str], bool]] = {
    "model": (lambda row: _line(row.model), False),
    "task": (lambda row: _line(row.task), False),
    "strategy": (lambda row: _line(row.strategy), False),
    "drop": (lambda row: f"{row.drop:g}", True),
    "recovery": (lambda row: _line(row.recovery), False),
    "effort": (lambda row: _line(row.effort), False),
    "layers": (lambda row: "" if row.layers_kept is None else f"{row.layers_kept} of {row.layers_total}", True),
    "metric": (lambda row: _line(row.metric or ""), False),
    "before": (lambda row: _plus_minus(row.score_before), True),
    "after": (lambda row: _plus_minus(row.score_after), True),
    "kept, %": (lambda row: _plus_minus(row.retention, 100), True),
    "interval, %": (_interval, True),
    "outcome": (lambda row: row.outcome or "", False),
    "parameters": (lambda row: "" if row.parameters_after is None else f"{row.parameters_after:,}", True),
    "latency, ms": (lambda row: _plus_minus(row.latency_ms), True),
    "speed-up": (lambda row: _plus_minus(row.speedup), True),
    "published": (_published, True),
    "front": (lambda row: "yes" if row.front else "", False),
}
