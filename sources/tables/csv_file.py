"""CSV and TSV."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING

from api_schemas.errors import LayercutError
from api_schemas.read_spec import ReadSpec
from sources.tables import duck
from sources.tables.bounds import MAX_COLUMNS, MAX_ROW, MIB
from sources.tables.data_file import DataFile
from sources.tables.dialects import Dialect, Unclear, dialect_of
from sources.tables.duck import BUFFER, literal, plainly
from sources.tables.encodings import UTF8, Copy, as_utf8, decoded, encoding_of, sample_of, undecodable
from sources.tables.opened import BadRow, Opened
from sources.tables.wide_rows import wide_row

if TYPE_CHECKING:
    import duckdb

#: Bad rows that are still counted; of a file with more of them nothing is learnt.
MOST_BAD = 100_000
#: DuckDB leaves out bad rows, and tells of each.
TOLD = f"store_rejects = true, rejects_limit = {MOST_BAD}"

csv.field_size_limit(MAX_ROW)

HOW = 'a field with the delimiter in it must stand in quotes; task.read.bad_rows "skip" leaves such rows out'
TOO_LONG = f"not CSV: longer than {MAX_ROW // MIB} MiB"
#: Kinds of DuckDB's, and what they are for people.
REASONS = {
    "TOO MANY COLUMNS": "too many fields",
    "MISSING COLUMNS": "too few fields",
    "UNQUOTED VALUE": "quotes that do not match",
    "INVALID ENCODING": "bytes that are not UTF-8",
    "LINE SIZE OVER MAXIMUM": "longer than 16 MiB",
}


@dataclass(frozen=True)
class CsvFile:
    """``path`` is the file itself, or a copy in UTF-8 and the plainest dialect; ``left_out`` did not get into it.

    ``counted``: DuckDB leaves out bad rows and tells of each. Before that, the first one is an error: it takes a
    kilobyte of memory for each that it tells of, and there may be millions. ``lists``: columns whose empty cells are
    empty lists, and nothing that is missing.
    """

    file: DataFile
    columns: Sequence[str]
    read: ReadSpec
    folder: Path
    dialect: Dialect
    encoding: str
    path: Path
    plain: bool = False
    left_out: tuple[BadRow, ...] = ()
    counted: bool = False
    lists: Collection[str] = ()

    def query(self, name: str) -> str:
        wanted = ", ".join(f"{self._value(column)} AS v{at}" for at, column in enumerate(self.columns))
        faults = TOLD if self.counted else "ignore_errors = false"
        return f"SELECT {wanted} FROM {self._rows(name, faults)}"

    def _value(self, column: str) -> str:
        value = f"c{self._header.index(column)}"
        return f"coalesce({value}, '')" if column in self.lists else value

    def _rows(self, name: str, faults: str) -> str:
        quote = literal('"' if self.plain else self.dialect.quote or "")
        fields = ", ".join(f"'c{at}': 'VARCHAR'" for at in range(len(self._header)))
        # Told of \r\n in strict mode, DuckDB 2.0.1 finds no rows at all; it finds that line end by itself.
        new_line = r"new_line = '\r'," if self.dialect.line_ends == {"\r"} and not self.plain else ""
        return (
            f"read_csv({name}, auto_detect = false, header = true, columns = {{{fields}}},"
            f" delim = {literal(',' if self.plain else self.dialect.delimiter)}, quote = {quote}, escape = {quote},"
            f" {new_line} strict_mode = true, compression = 'none', max_line_size = {MAX_ROW}, buffer_size = {BUFFER},"
            f" {faults})"
        )

    @property
    def expands(self) -> bool:
        return False

    def bad_rows(self, connection: duckdb.DuckDBPyConnection, placed: int = 0) -> Sequence[BadRow]:
        told = _told(connection)
        lines = self._lines_at([self._begin_of(byte) for byte, *_ in told[:placed]])
        places = chain(map(str, lines), repeat(""))
        return (
            *self.left_out,
            *(self._bad_row(place, *fault) for place, (_, *fault) in zip(places, told, strict=False)),
        )

    def agrees(self, first: Iterator[tuple[str | None, ...]]) -> bool:
        """With Python's reader: two that were written apart do not make the same mistake."""
        if self.plain:
            return True
        at = [self.dialect.columns.index(column) for column in self.columns]
        good = (fields for _, fields in self._records() if self._is_whole(fields))
        expected = (tuple(fields[place] for place in at) for fields in good)
        row = None
        for row in first:
            if tuple(value or "" for value in row) != next(expected, None):
                return False
        return row is not None or not any(self._is_whole(fields) for _, fields in self._records(blocks=1))

    def place(self, row: int) -> str:
        good = (line for line, fields in self._records() if self._is_whole(fields))
        return next((str(line) for at, line in enumerate(good) if at == row), "")

    def rewritten(self, connection: duckdb.DuckDBPyConnection, name: str) -> Opened | None:
        """By Python's reader, which takes backslashes and every line end; where some rows are bad and are to be left
        out, the file as it is, without them. Nothing is written where the first bad row is enough to refuse the file:
        raises ``dataset_invalid`` with its line.
        """
        if self.plain:
            return None
        few = not self.counted and self._has_few_bad(connection, name)
        if self.read.bad_rows == "skip":
            return replace(self, counted=True) if few else self.copied()
        if fault := (few and self._told_fault(connection, name)) or self._first_fault():
            raise self.file.error(fault.message, fault.place)
        return self.copied()

    def _has_few_bad(self, connection: duckdb.DuckDBPyConnection, name: str) -> bool:
        """No more than the lines that became neither a row nor a part of one's texts."""
        lines = sum(block.count(self._end) for block in self.file.blocks(self.path))
        inside = " + ".join(
            f"coalesce(strlen(c{at}) - strlen(replace(c{at}, chr({ord(self._end)}), '')), 0)"
            for at in range(len(self._header))
        )
        try:
            good = connection.execute(
                f"SELECT count(*) + coalesce(sum({inside}), 0) FROM {self._rows(name, 'ignore_errors = true')}"
            ).fetchall()
        except duck.Error:
            return False
        return bool(lines - good[0][0] <= MOST_BAD)

    def _told_fault(self, connection: duckdb.DuckDBPyConnection, name: str) -> BadRow | None:
        """The first bad row that DuckDB tells of, unless Python's reader finds nothing wrong with it."""
        try:
            connection.execute(f"SELECT count(*) FROM {self._rows(name, TOLD)}").fetchall()
            told = _told(connection)
        except duck.Error:
            return None
        if not told:
            return None
        byte, *fault = told[0]
        byte = self._begin_of(byte)
        line, quotes = self._before(byte)
        if quotes % 2:
            return None  # within a text in quotes: DuckDB began to read in the midst of it
        with self.path.open("rb") as opened:
            opened.seek(byte)
            start = opened.read(MAX_ROW)
        if fault[0] == "INVALID ENCODING":
            return self._bad_row(str(line), *fault)
        try:
            rows = self.dialect.reader(io.StringIO(start.decode(UTF8, "replace"), newline=""))
            fields: list[str] | None = next(rows, None)
        except csv.Error:
            return self._bad_row(str(line), *fault)
        return None if fields is None or self._is_whole(fields) else self._fault(str(line), fields)

    def _begin_of(self, byte: int) -> int:
        """Where the row begins that DuckDB tells by ``byte``: of one with which the file ends too soon, it tells where
        the file ends.
        """
        with self.path.open("rb") as opened:
            size = opened.seek(0, os.SEEK_END)
            if byte < size:
                return byte
            opened.seek(max(0, size - MAX_ROW))
            tail = opened.read(MAX_ROW)
        return size - len(tail) + tail.rstrip(b"\r\n").rfind(self._end) + 1

    def _first_fault(self) -> BadRow | None:
        faults = ((line, fields) for line, fields in self._records() if not self._is_whole(fields))
        return next((self._fault(str(line), fields) for line, fields in faults), None)

    def copied(self) -> Opened:
        """In the plainest dialect, by Python's reader."""
        path, bad = self.folder / "rewritten", list[BadRow]()
        at = [self.dialect.columns.index(column) for column in self.columns]
        with Copy(self.file, path) as target:
            writer = csv.writer(target, quoting=csv.QUOTE_ALL, lineterminator="\n")
            writer.writerow(self._header)
            for line, fields in self._records():
                if not isinstance(fields, str) and self._is_whole(fields):
                    writer.writerow([fields[place] for place in at])
                    continue
                bad.append(self._fault(str(line), fields))
                if self.read.bad_rows == "refuse" or len(bad) >= MOST_BAD:
                    break  # the file is refused, and the rest of it may be one fault a byte
        return replace(self, path=path, plain=True, left_out=tuple(bad), counted=False)

    def explained(self, error: duckdb.Error) -> LayercutError:
        return self.file.error(f"not CSV: {plainly(error)}")

    @property
    def _header(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.columns)) if self.plain else self.dialect.columns

    @property
    def _end(self) -> bytes:
        """By which lines are counted."""
        return b"\r" if self.dialect.line_ends == {"\r"} else b"\n"

    def _before(self, byte: int) -> tuple[int, int]:
        """The line of that byte, and how many quotes are before it. What DuckDB calls a line is a record, which may
        have several.
        """
        line, quotes, quote = 1, 0, (self.dialect.quote or "").encode()
        for block in self.file.blocks(self.path):
            before = block[: max(0, byte)]
            line, byte = line + before.count(self._end), byte - len(block)
            quotes += before.count(quote) if quote else 0
            if byte <= 0:
                break
        return line, quotes

    def _lines_at(self, places: Sequence[int]) -> Iterator[int]:
        """The lines of the bytes ``places``, which go upwards; all in one pass through the file."""
        waiting, line, start = deque(places), 1, 0
        for block in self.file.blocks(self.path) if places else ():
            while waiting and waiting[0] < start + len(block):
                yield line + block.count(self._end, 0, max(0, waiting.popleft() - start))
            if not waiting:
                return
            line, start = line + block.count(self._end), start + len(block)
        yield from repeat(line, len(waiting))

    def _bad_row(self, place: str, kind: str, message: str) -> BadRow:
        counts = re.search(r"Found: (\d+)", message)
        if kind in ("TOO MANY COLUMNS", "MISSING COLUMNS") and counts:
            return self._width(place, int(counts[1]))
        if kind == "INVALID ENCODING":
            return BadRow(place, REASONS[kind], undecodable(self.file, UTF8, "").message.partition(": ")[2])
        return BadRow(place, REASONS.get(kind, "not CSV"), f"not CSV: {REASONS.get(kind, message)}")

    def _fault(self, place: str, fields: list[str] | str) -> BadRow:
        if isinstance(fields, str):
            return BadRow(place, fields, f"not CSV: {fields}")
        return self._width(place, len(fields))

    def _width(self, place: str, found: int) -> BadRow:
        expected = len(self.dialect.columns)
        reason = "too many fields" if found > expected else "too few fields"
        return BadRow(place, reason, f"the row has {found} fields, the header has {expected}: {HOW}")

    def _is_whole(self, fields: list[str] | str) -> bool:
        return not isinstance(fields, str) and len(fields) == len(self.dialect.columns)

    def _records(self, blocks: int | None = None) -> Iterator[tuple[int, list[str] | str]]:
        """Each record after the header, or what is wrong with it, with the line that it begins on.

        ``blocks``: of so many at the beginning of the file.
        """
        lines = _Lines(self.file, islice(decoded(self.file, self.encoding), blocks))
        reader, header = self.dialect.reader(iter(lines)), True
        while True:
            start = lines.number + 1
            try:
                fields: list[str] | str = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                fields = REASONS["LINE SIZE OVER MAXIMUM" if "field limit" in str(error) else "UNQUOTED VALUE"]
            if lines.last.endswith("\r") and self.dialect.line_ends != {"\r"}:
                fields = "a carriage return stands alone, outside of quotes"
            if fields and not header:
                yield start, fields
            header = header and not fields


def _told(connection: duckdb.DuckDBPyConnection) -> list[tuple[int, str, str]]:
    """Of each bad row that the last query left out its first byte, the kind of fault and the message, in the order of
    the file.
    """
    tables = connection.execute("SELECT table_name FROM duckdb_tables() WHERE table_name = 'reject_errors'")
    if tables.fetchone() is None:
        return []
    found = connection.execute(
        "SELECT line_byte_position AS byte, first(error_type), first(error_message) FROM reject_errors"
        " GROUP BY byte ORDER BY byte"
    ).fetchall()
    connection.execute("DROP TABLE reject_errors; DROP TABLE reject_scans")
    return found


class _Lines:
    """Text as lines, each with the end that it has; counted."""

    def __init__(self, file: DataFile, blocks: Iterator[str]) -> None:
        self._file, self._blocks = file, blocks
        self.number = 0
        self.last = ""

    def __iter__(self) -> Iterator[str]:
        rest = ""
        for block in self._blocks:
            *lines, rest = _split(rest + block)
            for line in lines:
                self.number, self.last = self.number + 1, line
                yield line
            if len(rest) > MAX_ROW:
                raise self._file.error(TOO_LONG, str(self.number + 1))
        for line in filter(None, _split(rest)):
            self.number, self.last = self.number + 1, line
            yield line


def _split(text: str) -> list[str]:
    """Ends with what may go on: a line without an end, or one whose return may have its line feed in the next block."""
    lines = list(io.StringIO(text, newline=""))
    return lines if lines and not lines[-1].endswith("\n") else [*lines, ""]


def open_csv(
    file: DataFile, columns: Sequence[str], asked: ReadSpec, folder: Path, lists: Collection[str] = ()
) -> Opened:
    """Raises ``dataset_invalid`` where columns are not there, or it is not clear how the file is written."""
    encoding = encoding_of(file, asked.encoding or "auto")
    sample, cut = sample_of(file, encoding)
    if not sample.strip():
        raise file.error("the file has no rows", "1")
    try:
        dialect = dialect_of(sample, columns, file.kind, asked, cut=cut)
    except Unclear as error:
        message, line = error.args
        raise file.error(message, str(line or 1)) from None
    read = ReadSpec(
        delimiter=dialect.delimiter, quote=dialect.quote or "none", escape=dialect.escape, encoding=encoding,
        bad_rows=asked.bad_rows,
    )  # fmt: skip
    found = CsvFile(file, columns, read, folder, dialect, encoding, as_utf8(file, encoding, folder), lists=lists)
    if (wide := wide_row(file.blocks(found.path), dialect, MAX_ROW)) is not None:
        line, fields = wide
        said = f"the row has {fields} fields; at most {MAX_COLUMNS} are read" if fields else TOO_LONG
        raise file.error(said, str(line))
    odd = dialect.escape == "backslash" or len(dialect.line_ends) > 1
    if odd or (dialect.line_ends != {"\r"} and _has_lone_return(file.blocks(found.path))):
        return found.copied()
    return found


def _has_lone_return(blocks: Iterable[bytes]) -> bool:
    """DuckDB passes over one that begins a line as if it were not there."""
    last = b""
    for block in blocks:
        if _LONE.search(last + block):
            return True
        last = block[-1:]
    return False


_LONE = re.compile(rb"\r[^\n]")
