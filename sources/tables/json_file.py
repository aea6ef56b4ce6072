"""JSON: an object a line, or one list of objects."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from api_schemas.errors import LayercutError
from api_schemas.read_spec import ReadSpec
from sources.tables.bounds import MAX_ROW, MIB, MOST_WHOLE
from sources.tables.data_file import DataFile
from sources.tables.dialects import no_column
from sources.tables.duck import identifier, literal, plainly
from sources.tables.encodings import UTF8, as_utf8, encoding_of, undecodable
from sources.tables.opened import BadRow, Opened

if TYPE_CHECKING:
    import duckdb

#: Scalars; a list or an object is neither a text nor a label.
VALUE = "CASE WHEN json_type({0}) NOT IN ('ARRAY', 'OBJECT', 'NULL') THEN {0} ->> '$' END"
#: Of a column that may hold lists.
LIST = "CASE WHEN json_type({0}) NOT IN ('OBJECT', 'NULL') THEN {0} ->> '$' END"


@dataclass(frozen=True)
class JsonFile:
    """``lines``: an object a line, else one list."""

    file: DataFile
    columns: Sequence[str]
    read: ReadSpec
    path: Path
    lines: bool
    lists: Collection[str] = ()

    def query(self, name: str) -> str:
        names = dict.fromkeys(self.columns)
        fields = ", ".join(f"{literal(column)}: 'JSON'" for column in names)
        wanted = ", ".join(f"{self._value(column)} AS v{at}" for at, column in enumerate(self.columns))
        skips = "true" if self.read.bad_rows == "skip" and self.lines else "false"
        return (
            f"SELECT {wanted} FROM read_json({name}, format = '{'newline_delimited' if self.lines else 'array'}',"
            f" columns = {{{fields}}}, records = true, ignore_errors = {skips}, compression = 'none',"
            f" maximum_object_size = {MAX_ROW})"
        )

    def _value(self, column: str) -> str:
        return (LIST if column in self.lists else VALUE).format(identifier(column))

    @property
    def expands(self) -> bool:
        return False

    def bad_rows(self, _: duckdb.DuckDBPyConnection, placed: int = 0) -> Sequence[BadRow]:
        """None: a line that is no JSON is a row without values, which is told as such."""
        return ()

    def agrees(self, _: Iterator[tuple[str | None, ...]]) -> bool:
        return True

    def place(self, row: int) -> str:
        if not self.lines:
            return f"row {row + 1}"
        filled = (number for number, line in enumerate(self.file.lines(self.path), 1) if line.strip())
        return next((str(number) for at, number in enumerate(filled) if at == row), "")

    def rewritten(self, _: duckdb.DuckDBPyConnection, __: str) -> Opened | None:
        return None

    def explained(self, error: duckdb.Error) -> LayercutError:
        found = self._wrong_line() if self.lines else self._wrong_place()
        return found or self.file.error(f"not JSON: {plainly(error)}")

    def _wrong_line(self) -> LayercutError | None:
        for number, line in enumerate(self.file.lines(self.path), 1):
            if len(line) > MAX_ROW:
                return self.file.error(f"the line is longer than {MAX_ROW // MIB} MiB", str(number))
            if line.strip() and (wrong := self._wrong(line.removeprefix(b"\xef\xbb\xbf"), number)):
                return wrong
        return None

    def _wrong_place(self) -> LayercutError | None:
        if self.path.stat().st_size > MOST_WHOLE:
            return None
        try:
            rows = json.loads(self.path.read_bytes().decode("utf-8-sig"), parse_constant=str)
        except (ValueError, RecursionError) as error:
            return self.file.error(f"not JSON: {error}", str(getattr(error, "lineno", 1)))
        for number, row in enumerate(rows, 1):
            if wrong := self._not_a_row(row, f"row {number}"):
                return wrong
        return None

    def _wrong(self, line: bytes, number: int) -> LayercutError | None:
        try:
            # Of bytes it would guess the encoding.
            record = json.loads(line.decode(), parse_constant=str)
        except UnicodeDecodeError:
            return undecodable(self.file, UTF8, str(number))
        except (ValueError, RecursionError) as error:
            return self.file.error(f"not JSON: {error}", str(number))
        return self._not_a_row(record, str(number))

    def _not_a_row(self, record: object, place: str) -> LayercutError | None:
        if not isinstance(record, dict):
            return self.file.error("not a JSON object", place)
        for column in self.columns:
            value = record.get(column)
            if isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value):
                return self.file.error(f"{column!r} has half a character (a lone surrogate)", place)
        return None


def open_json(
    file: DataFile, columns: Sequence[str], asked: ReadSpec, folder: Path, lists: Collection[str] = ()
) -> Opened:
    """Raises ``dataset_invalid`` where the first row lacks a column."""
    encoding = encoding_of(file, asked.encoding or "auto")
    path = as_utf8(file, encoding, folder)
    with path.open("rb") as opened:
        start = opened.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        raise file.error("the file has no rows", "1")
    read = ReadSpec(delimiter=None, quote=None, escape=None, encoding=encoding, bad_rows=asked.bad_rows)
    found = JsonFile(file, columns, read, path, lines=not start.startswith(b"["), lists=lists)
    if found.lines:
        _check_first(found)
    return found


def _check_first(found: JsonFile) -> None:
    """A misspelt column is better told by its name than as a value that is missing."""
    line = next((line for line in found.file.lines(found.path) if line.strip()), b"")
    try:
        record = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return
    missing = [column for column in found.columns if isinstance(record, dict) and column not in record]
    if missing:
        raise found.file.error(no_column(missing[0], list(record)), found.place(0))
