"""Parquet."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from api_schemas.errors import LayercutError
from api_schemas.read_spec import ReadSpec
from sources.tables.bounds import DECODED, MAX_COLUMNS, MAX_FOOTER, MAX_ROW_GROUPS
from sources.tables.data_file import DataFile
from sources.tables.dialects import no_column, too_many
from sources.tables.duck import connect, identifier, plainly
from sources.tables.opened import BadRow, Opened

#: Where the columns are told, at the end of the file: a thousand pieces of ten columns take a megabyte.

#: Types that are no single value.
NESTED = ("STRUCT", "MAP", "UNION", "[")


@dataclass(frozen=True)
class ParquetFile:
    file: DataFile
    columns: Sequence[str]
    read: ReadSpec

    @property
    def path(self) -> Path:
        return self.file.path

    def query(self, name: str) -> str:
        wanted = ", ".join(f"CAST({identifier(column)} AS VARCHAR) AS v{at}" for at, column in enumerate(self.columns))
        return f"SELECT {wanted} FROM read_parquet({name})"

    @property
    def expands(self) -> bool:
        return True

    def bad_rows(self, _: duckdb.DuckDBPyConnection) -> Sequence[BadRow]:
        return ()

    def agrees(self, _: Iterator[tuple[str | None, ...]]) -> bool:
        return True

    def place(self, row: int) -> str:
        return f"row {row + 1}"

    def rewritten(self, _: duckdb.DuckDBPyConnection, __: str) -> Opened | None:
        return None

    def explained(self, error: duckdb.Error) -> LayercutError:
        return self.file.error(f"not Parquet: {plainly(error)}")


def open_parquet(file: DataFile, columns: Sequence[str], asked: ReadSpec, folder: Path) -> Opened:
    """Raises ``dataset_invalid`` where columns are not there, or are no texts and no numbers."""
    read = ReadSpec(delimiter=None, quote=None, escape=None, encoding=None, bad_rows=asked.bad_rows)
    found = ParquetFile(file, columns, read)
    _check_footer(file)
    with connect(file.path, folder) as (connection, name):
        try:
            count = connection.execute(f"SELECT count(*) - 1 FROM parquet_schema({name})").fetchone()
            if count is not None and count[0] > MAX_COLUMNS:
                raise file.error(too_many(count[0]))
            described = connection.execute(f"DESCRIBE SELECT * FROM read_parquet({name})").fetchall()
            _check_claims(file, connection, name)
        except duckdb.Error as error:
            raise found.explained(error) from None
    types = {column: kind for column, kind, *_ in described}
    for column in columns:
        if column not in types:
            raise file.error(no_column(column, list(types)))
        if any(mark in types[column] for mark in NESTED) or types[column] == "BLOB":
            raise file.error(f"{column!r} holds neither texts nor numbers but {types[column][:60]}")
    return found


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
