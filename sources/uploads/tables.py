"""A look into a table: all columns that a job could read, and the rows that it would leave out or refuse."""

from __future__ import annotations

from collections.abc import Sequence

from api_schemas.uploads import BadLine
from sources.tables.column_stats import describe
from sources.tables.columns import Columns, NotSure, columns_of
from sources.tables.data_file import DataFile
from sources.tables.duck import scratch
from sources.tables.encodings import UTF8
from sources.tables.table import Table
from sources.uploads.looks import SHOWN_LINES, Found, cut

JSON = (".json", ".jsonl", ".ndjson")
#: Of a line of many megabytes, what is read at a time, in characters.
PIECE = 1 << 16


def look_into_table(file: DataFile) -> Found:
    """What is in the pinned ``file``. Raises ``dataset_invalid`` for one without a row that can be read."""
    try:
        with scratch() as folder:
            columns = columns_of(file, folder)
    except NotSure as unsure:
        return Found(notes=[f"it can be read once more is said of it: {unsure}"])
    if not columns.names:
        raise file.error("no column holds texts or numbers")
    with Table(file, columns.names, None, columns.read, lists=columns.lists, placed=SHOWN_LINES) as table:
        return _found(table, columns)


def _found(table: Table, columns: Columns) -> Found:
    bad_rows, bad_lines = _bad(table)
    rows = table.profile.rows if table.file.kind not in JSON else table.profile.rows - bad_rows
    if not rows:
        first = f": line {bad_lines[0].line}, {bad_lines[0].reason}" if bad_lines else ""
        raise table.file.error(f"the file has no row that can be read{first}")
    infos, counts = describe(table)
    # Bad rows were left out to be shown: whether a job leaves them out is for its request to say.
    read = table.read.model_copy(update={"bad_rows": "refuse"})
    return Found(
        rows, columns=infos, label_counts=counts, bad_rows=bad_rows, bad_lines=bad_lines, read=read,
        notes=_notes(columns, len(infos)),
    )  # fmt: skip


def _notes(columns: Columns, described: int) -> list[str]:
    notes = [columns.note] if columns.note else []
    if len(columns.names) > described:
        notes.append(f"{len(columns.names) - described} columns more are not described")
    if columns.others:
        notes.append(f"columns that no job reads: {', '.join(map(repr, columns.others[:20]))}")
    return notes


def _bad(table: Table) -> tuple[int, list[BadLine]]:
    """How many rows are bad, and the first of them."""
    told = [(row.place, row.message) for row in table.bad_rows]
    count = table.bad.total()
    if table.file.kind in JSON:
        # To the reader a line that is no JSON is a row without values.
        empty = " AND ".join(f"v{at} IS NULL" for at in range(len(table.texts)))
        count = table.ask(f"SELECT count(*) FROM {table.rows} WHERE {empty}")[0][0]
        numbered = f"SELECT row_number() OVER () - 1 AS row, * FROM {table.rows}"
        rows = table.ask(f"SELECT row FROM ({numbered}) WHERE {empty} LIMIT {SHOWN_LINES}") if count else []
        told = [(table.place(row), "no JSON object with a value in it") for (row,) in rows]
    lines = [int(place) if place.isdecimal() else None for place, _ in told]
    texts = _texts_of(table.file, table.read.encoding or UTF8, [line for line in lines if line])
    return count, [
        BadLine(line=line, reason=why, text=texts.get(line or 0, ""))
        for line, (_, why) in zip(lines, told, strict=True)
    ]


def _texts_of(file: DataFile, encoding: str, numbers: Sequence[int]) -> dict[int, str]:
    """How the lines of these numbers begin."""
    found: dict[int, str] = {}
    wanted, number, begins = set(numbers), 1, True
    with file.path.open(encoding=encoding, errors="replace", newline=_line_end(file)) as opened:
        while len(found) < len(wanted) and (piece := opened.readline(PIECE)):
            if begins and number in wanted:
                found[number] = cut(piece.rstrip("\r\n"))
            begins = piece.endswith(("\n", "\r"))
            number += begins
    return found


def _line_end(file: DataFile) -> str:
    with file.path.open("rb") as opened:
        return "\n" if b"\n" in opened.read(PIECE) else "\r"
