"""The files that rows come in: CSV, TSV and JSONL, each record with the line it starts on."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from sources.lines import Lines

# (line, values of the wanted columns in their order); None for a row that is too short to have them all
Record = tuple[int, tuple[Any, ...] | None]
Reader = Callable[[Lines, Sequence[str]], Iterator[Record]]


def read_csv(lines: Lines, columns: Sequence[str]) -> Iterator[Record]:
    """Comma-separated with a header; a field in double quotes may hold commas, line ends and doubled quotes."""
    return _wanted(lines, columns, _csv_fields(lines))


def read_tsv(lines: Lines, columns: Sequence[str], header: Sequence[str] | None = None) -> Iterator[Record]:
    """Tab-separated, one line a row, no quoting, as in GLUE; ``header`` where the file itself has none."""
    rows = ((lines.number, line.rstrip("\r\n").split("\t")) for line in lines if line.strip("\r\n"))
    return _wanted(lines, columns, rows, header)


def read_jsonl(lines: Lines, columns: Sequence[str]) -> Iterator[Record]:
    """One JSON object a line."""
    for line in lines:
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise lines.error(f"not JSON: {error}") from None
        if not isinstance(record, dict):
            raise lines.error("not a JSON object")
        for column in columns:
            if column not in record:
                raise lines.error(_no_column(column, list(record)))
        yield lines.number, tuple(record[column] for column in columns)


def read_txt(lines: Lines, columns: Sequence[str]) -> Iterator[Record]:
    """One text a line; lines without any are left out. For what has no labels: there are no columns."""
    return ((lines.number, (line.strip(),)) for line in lines if line.strip())


READERS: dict[str, Reader] = {".csv": read_csv, ".tsv": read_tsv, ".jsonl": read_jsonl, ".ndjson": read_jsonl}


def _csv_fields(lines: Lines) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(lines, strict=True)
    while True:
        start = lines.number + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if lines.cut:  # reading stopped inside a quoted field
                return
            raise lines.error(f"not CSV: {error}", start) from None
        if fields:
            yield start, fields


def _wanted(
    lines: Lines, columns: Sequence[str], rows: Iterator[tuple[int, list[str]]], header: Sequence[str] | None = None
) -> Iterator[Record]:
    if header is None:
        _, header = next(rows, (1, None))
        if header is None:
            return
    for column in columns:
        if list(header).count(column) != 1:
            raise lines.error(_no_column(column, header))
    places = [header.index(column) for column in columns]
    for line, fields in rows:
        yield line, tuple(fields[place] for place in places) if len(fields) > max(places) else None


def _no_column(column: str, header: Sequence[str]) -> str:
    if column in header:
        return f"column {column!r} stands there more than once"
    near = get_close_matches(column, header, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "the columns are: " + ", ".join(map(repr, header[:20]))
    return f"no column {column!r}; {hint}"
