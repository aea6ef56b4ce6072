"""Parquet."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from api_schemas.errors import LayercutError
from api_schemas.read_spec import ReadSpec
from sources.tables import duck
from sources.tables.bounds import DECODED, MAX_COLUMNS, MAX_FOOTER, MAX_ROW_GROUPS
from sources.tables.data_file import DataFile
from sources.tables.dialects import no_column, too_many
from sources.tables.duck import connect, identifier, plainly
from sources.tables.opened import BadRow, Opened

if TYPE_CHECKING:
    import duckdb

#: Types that are no single value.
NESTED = ("STRUCT", "MAP", "UNION", "[")
#: Of a type that is a list, of any length or of one.
LIST_END = re.compile(r"\[\d*\]$")


@dataclass(frozen=True)
class ParquetFile:
    file: DataFile
    columns: Sequence[str]
    read: ReadSpec
    #: Which of the columns do hold lists.
    lists: Collection[str] = ()

    @property
    def path(self) -> Path:
        return self.file.path

    def query(self, name: str) -> str:
        wanted = ", ".join(f"CAST({self._value(column)} AS VARCHAR) AS v{at}" for at, column in enumerate(self.columns))
        return f"SELECT {wanted} FROM read_parquet({name})"

    def _value(self, column: str) -> str:
        return f"to_json({identifier(column)})" if column in self.lists else identifier(column)

    @property
    def expands(self) -> bool:
        return True

    def bad_rows(self, _: duckdb.DuckDBPyConnection, placed: int = 0) -> Sequence[BadRow]:
        return ()

    def agrees(self, _: Iterator[tuple[str | None, ...]]) -> bool:
        return True

    def place(self, row: int) -> str:
        return f"row {row + 1}"

    def rewritten(self, _: duckdb.DuckDBPyConnection, __: str) -> Opened | None:
        return None

    def explained(self, error: duckdb.Error) -> LayercutError:
        return not_parquet(self.file, error)


def open_parquet(
    file: DataFile, columns: Sequence[str], asked: ReadSpec, folder: Path, lists: Collection[str] = ()
) -> Opened:
    """Raises ``dataset_invalid`` where columns are not there, or are no texts and no numbers."""
    read = ReadSpec(delimiter=None, quote=None, escape=None, encoding=None, bad_rows=asked.bad_rows)
    found = ParquetFile(file, columns, read)
    types = column_types(file, folder)
    for column in columns:
        if column not in types:
            raise file.error(no_column(column, list(types)))
        if not is_read(types[column], may_be_list=column in lists):
            raise file.error(f"{column!r} holds neither texts nor numbers but {types[column][:60]}")
    return replace(found, lists=[column for column in columns if column in lists and LIST_END.search(types[column])])


def is_read(kind: str, *, may_be_list: bool) -> bool:
    """Whether values of DuckDB's type ``kind`` are texts or numbers, or lists of them where that may be."""
    single = LIST_END.sub("", kind) if may_be_list else kind
    return single != "BLOB" and not any(mark in single for mark in NESTED)


def column_types(file: DataFile, folder: Path) -> dict[str, str]:
    """DuckDB's type of each column, in the order of the file. Raises ``dataset_invalid``."""
    _check_footer(file)
    with connect(file.path, folder) as (connection, name):
        try:
            count = connection.execute(f"SELECT count(*) - 1 FROM parquet_schema({name})").fetchone()
            if count is not None and count[0] > MAX_COLUMNS:
                raise file.error(too_many(count[0]))
            described = connection.execute(f"DESCRIBE SELECT * FROM read_parquet({name})").fetchall()
            _check_claims(file, connection, name)
        except duck.Error as error:
            raise not_parquet(file, error) from None
    return {column: kind for column, kind, *_ in described}


def not_parquet(file: DataFile, error: duckdb.Error) -> LayercutError:
    return file.error(f"not Parquet: {plainly(error)}")


def _check_claims(file: DataFile, connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """What the footer says that there is, before any of it is decoded."""
    groups, size = connection.execute(
        f"SELECT count(DISTINCT row_group_id), coalesce(sum(total_uncompressed_size), 0) FROM parquet_metadata({name})"
    ).fetchall()[0]
    most = DECODED.of(file.path.stat().st_size)
    if groups > MAX_ROW_GROUPS:
        raise file.error(f"the file has {groups} row groups; at most {MAX_ROW_GROUPS} are read: write larger ones")
    if size > most:
        raise file.error(f"the file says to have {size} bytes when it is decoded; at most {most} are read")


def _check_footer(file: DataFile) -> None:
    """DuckDB reads it as a whole, and takes the longer the more columns it tells of."""
    with file.path.open("rb") as opened:
        size = opened.seek(0, os.SEEK_END)
        opened.seek(max(0, size - 8))
        end = opened.read(8)
    length = int.from_bytes(end[:4], "little")
    if end[4:] != b"PAR1" or length + 8 > size:
        raise file.error("not Parquet: it does not end as such a file does")
    if length > MAX_FOOTER:
        raise file.error(
            f"the footer has {length} bytes; at most {MAX_FOOTER} are read: write fewer columns and pieces"
        )
