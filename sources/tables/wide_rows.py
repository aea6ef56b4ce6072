"""Rows of thousands of fields, found before DuckDB reads them: it keeps a copy of the row for each field too many, and
cannot be interrupted while it does.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator

from sources.tables.bounds import MAX_COLUMNS
from sources.tables.dialects import Dialect

#: No shorter line has more fields than are read.
LONG = 2 * MAX_COLUMNS


def wide_row(blocks: Iterable[bytes], dialect: Dialect, longest: int) -> tuple[int, int] | None:
    """The line, from 1, of the first row with more than ``MAX_COLUMNS`` fields, and how many it has.

    ``blocks`` are of UTF-8. Of a line with more than ``longest`` bytes the fields are not counted, but 0.
    """
    delimiter = dialect.delimiter.encode()
    for number, line in _long_lines(blocks, b"\r" if dialect.line_ends == {"\r"} else b"\n", longest):
        if len(line) > longest:
            if dialect.line_ends <= {"\n", "\r\n"}:
                return number, 0
            return None  # it may be many lines, with ends of several kinds
        if line.count(delimiter) < MAX_COLUMNS:
            continue
        try:
            fields = len(next(dialect.reader(iter([line.decode("utf-8", "replace")])), []))
        except csv.Error:  # a quote that has no end in this line
            continue
        if fields > MAX_COLUMNS:
            return number, fields
    return None


def _long_lines(blocks: Iterable[bytes], end: bytes, longest: int) -> Iterator[tuple[int, bytes]]:
    """Lines of ``LONG`` bytes and more, with their numbers. The others are stepped over, many at a time."""
    number, rest = 1, b""
    for block in blocks:
        data, at = rest + block, 0
        while len(data) - at >= LONG:
            last = data.rfind(end, at, at + LONG)
            if last >= 0:
                number += data.count(end, at, last + 1)
                at = last + 1
                continue
            stop = data.find(end, at + LONG)
            if stop < 0:
                break
            yield number, data[at:stop]
            number, at = number + 1, stop + 1
        rest = data[at:]
        if len(rest) > longest:
            break
    if len(rest) >= LONG:
        yield number, rest
