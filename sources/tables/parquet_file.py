"""Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from api_schemas.errors import LayercutError
from api_schemas.read_spec import ReadSpec
from sources.tables.data_file import DataFile
from sources.tables.dialects import no_column
from sources.tables.duck import connect, identifier, plainly
from sources.tables.opened import BadRow, Opened

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

    def bad_rows(self, _: duckdb.DuckDBPyConnection) -> Sequence[BadRow]:
        return ()

    def agrees(self, _: Sequence[tuple[str | None, ...]]) -> bool:
        return True

    def place(self, row: int) -> str:
        return f"row {row + 1}"

    def rewritten(self) -> Opened | None:
        return None

    def explained(self, error: duckdb.Error) -> LayercutError:
        return self.file.error(f"not Parquet: {plainly(error)}")


def open_parquet(file: DataFile, columns: Sequence[str], asked: ReadSpec, folder: Path) -> Opened:
    """Raises ``dataset_invalid`` where columns are not there, or are no texts and no numbers."""
    read = ReadSpec(delimiter=None, quote=None, escape=None, encoding=None, bad_rows=asked.bad_rows)
    found = ParquetFile(file, columns, read)
    with connect(file.path, folder) as (connection, name):
        try:
            described = connection.execute(f"DESCRIBE SELECT * FROM read_parquet({name})").fetchall()
        except duckdb.Error as error:
            raise found.explained(error) from None
    types = {column: kind for column, kind, *_ in described}
    for column in columns:
        if column not in types:
            raise file.error(no_column(column, list(types)))
        if any(mark in types[column] for mark in NESTED) or types[column] == "BLOB":
            raise file.error(f"{column!r} holds neither texts nor numbers but {types[column][:60]}")
    return found
