"""How much of a file was looked at, and what is said of it then."""

from __future__ import annotations

from dataclasses import dataclass, field

from api_schemas.read_spec import ReadSpec
from api_schemas.uploads import BadLine, ColumnInfo, TableInspection
from sources.tables.data_file import DataFile

#: Bad lines that are shown, and characters of each.
SHOWN_LINES, SHOWN = 20, 200
#: Of a note, in characters.
LONGEST_NOTE = 2000


@dataclass(frozen=True)
class Looked:
    """Of a file of ``total`` bytes, the first ``bytes`` were looked at."""

    bytes: int
    total: int

    @property
    def complete(self) -> bool:
        return self.bytes >= self.total

    def rows(self, found: int) -> int:
        """Of the whole file, told by those that were found."""
        return found if self.complete or not self.bytes else round(found * self.total / self.bytes)


@dataclass
class Found:
    """What was found in one file; ``rows`` None: nobody knows how to read it. ``exact``: the file says how many."""

    rows: int | None = None
    exact: bool = False
    columns: list[ColumnInfo] = field(default_factory=list)
    label_counts: dict[str, dict[str, int]] = field(default_factory=dict)
    bad_rows: int = 0
    bad_lines: list[BadLine] = field(default_factory=list)
    read: ReadSpec | None = None
    notes: list[str] = field(default_factory=list)

    def shown(self, file: DataFile, looked: Looked) -> TableInspection:
        return TableInspection(
            file=file.name,
            format=file.kind.removeprefix("."),
            rows=self.rows if self.rows is None or self.exact else looked.rows(self.rows),
            complete=looked.complete and self.rows is not None,
            columns=self.columns,
            label_counts=self.label_counts,
            bad_rows=self.bad_rows,
            bad_lines=self.bad_lines,
            read=self.read,
            note="; ".join(self.notes)[:LONGEST_NOTE] or None,
        )


def cut(text: str, most: int = SHOWN) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
