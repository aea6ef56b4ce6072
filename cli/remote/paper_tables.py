"""Tables of the paper beside ours, as they are printed; and the part of table 5 that is a study of its own."""

# ruff: noqa: PLC0415 - help and completion wait for no vocabulary, and rich is for tables

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import typer

from cli.remote.showing import draw
from cli.texts import plain

if TYPE_CHECKING:
    from rich.table import Table

    from api_schemas.studies.paper import PaperTable
    from api_schemas.studies.shown import Study, StudyRow

#: Drops from the full model that was fine-tuned, and learns again as the paper does: from the labels alone.
AGAIN: dict[str, Any] = {"method": "distill", "label_weight": 1, "hidden_weight": 0, "noise": 0, "dropout": True}
AGAIN_SAID = "fine-tuned again"
HALF = 0.5


def is_again(study: Study) -> bool:
    """Whether it is of table 5's second line."""
    recoveries = study.request.get("recoveries")
    return isinstance(recoveries, list) and [_named(one) for one in recoveries] == [AGAIN]


def _named(recovery: Any) -> Any:
    return {key: value for key, value in recovery.items() if key in AGAIN} if isinstance(recovery, dict) else recovery


def tables_of(studies: Iterable[Study]) -> list[PaperTable]:
    """All five, of the rows of all of them."""
    from api_schemas.studies.paper import paper_tables

    found = list(studies)
    grid = [row for study in found if not is_again(study) for row in study.table]
    again = [row for study in found if is_again(study) for row in study.table]
    names = _short_names(grid + again)
    *tables, order = paper_tables(_renamed(grid, names))
    *_, of_again = paper_tables(_renamed(again, names))
    return [*tables, _with_lines(order, of_again) if again else order]


def _with_lines(order: PaperTable, again: PaperTable) -> PaperTable:
    """Ours of ``again`` behind the line of the same model, or at the end, by the names of the tasks."""
    from api_schemas.studies.paper import PUBLISHED

    columns = [*order.columns, *(name for name in again.columns if name not in order.columns)]
    rows = [[*row, *[""] * (len(columns) - len(row))] for row in order.rows]
    for line in again.rows:
        cells = dict(zip(again.columns, line, strict=True))
        if cells["whose"] == PUBLISHED:
            continue
        cells["whose"] = f"{cells['whose'].rpartition(', ')[0]}, {AGAIN_SAID}"
        behind = [at for at, row in enumerate(rows) if row[0] == cells["model"]]
        rows.insert(behind[-1] + 1 if behind else len(rows), [cells.get(name, "") for name in columns])
    note = f"`{AGAIN_SAID}` drops from the fine-tuned model and learns from the labels alone, as the paper does."
    return replace(order, columns=columns, rows=rows, notes=[*order.notes, note])


def _short_names(rows: Iterable[StudyRow]) -> dict[str, str]:
    """Of models that are paths: the last part, where that tells them apart."""
    paths = {row.model for row in rows if row.model.startswith(("/", "~", "."))}
    short = {path: PurePath(path).name for path in paths}
    return short if len(set(short.values())) == len(short) else {}


def _renamed(rows: Iterable[StudyRow], names: dict[str, str]) -> list[StudyRow]:
    return [row.model_copy(update={"model": names.get(row.model, row.model)}) for row in rows]


def print_tables(tables: Sequence[PaperTable], studies: Sequence[Study], *, markdown: bool, as_json: bool) -> None:
    if as_json:
        found = {"studies": [study.id for study in studies], "tables": [asdict(table) for table in tables]}
        typer.echo(json.dumps(found))
    elif markdown:
        typer.echo("\n".join(map(_markdown, tables)), nl=False)
    else:
        for table in tables:
            draw("", _title(table), _drawn(table), *_notes(table))


def _markdown(table: PaperTable) -> str:
    from api_schemas.markdown import line
    from api_schemas.markdown import table as of_cells

    numbers = [at > 2 for at in range(len(table.columns))]
    cells = of_cells(
        [line(name) for name in table.columns], [[line(cell) for cell in row] for row in table.rows], numbers
    )
    notes = "".join(f"- {line(note)}\n" for note in table.notes)
    return f"## Table {table.number}: {line(table.title)}\n\n{cells}\n{notes}"


def _drawn(table: PaperTable) -> Table:
    """Lines of ours are the bright ones."""
    from rich.table import Table
    from rich.text import Text

    from api_schemas.studies.paper import PUBLISHED

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for at, name in enumerate(table.columns):
        drawn.add_column(plain(name), justify="right" if at > 2 else "left", overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(plain(cell)) for cell in row), style="dim" if row[2] == PUBLISHED else "bold")
    return drawn


def _title(table: PaperTable) -> object:
    from rich.text import Text

    return Text(f"Table {table.number}: {plain(table.title)}", style="bold underline")


def _notes(table: PaperTable) -> Iterator[object]:
    from rich.padding import Padding
    from rich.text import Text

    for note in table.notes:
        yield Padding(Text(plain(note), style="dim italic"), (0, 0, 0, 2), expand=False)
