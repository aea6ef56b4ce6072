"""Tab-separated files without quoting, as GLUE's are, each record with the line that it starts on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sources.lines import Lines
from sources.tables.dialects import no_column

# (line, values of the wanted columns in their order); None for a row that is too short to have them all
Record = tuple[int, tuple[str, ...] | None]


def read_tsv(lines: Lines, columns: Sequence[str], header: Sequence[str] | None = None) -> Iterator[Record]:
    """One line a row; ``header`` where the file itself has none."""
    rows = ((lines.number, line.rstrip("\r\n").split("\t")) for line in lines if line.strip("\r\n"))
    if header is None:
        _, header = next(rows, (1, None))
        if header is None:
            return
    for column in columns:
        if list(header).count(column) != 1:
            raise lines.error(no_column(column, header))
    places = [header.index(column) for column in columns]
    for line, fields in rows:
        yield line, tuple(fields[place] for place in places) if len(fields) > max(places) else None
