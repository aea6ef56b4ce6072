"""A look into a large Parquet file by its footer alone: what it says of its columns and rows, and no value of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from api_schemas.uploads import ColumnInfo
from sources.tables import duck
from sources.tables.bounds import MAX_FOOTER
from sources.tables.column_stats import DESCRIBED
from sources.tables.data_file import DataFile
from sources.tables.duck import connect, scratch
from sources.tables.parquet_file import LIST_END, column_types, not_parquet
from sources.uploads.looks import Found

#: By how DuckDB's name of a type begins; others are read as texts.
TYPES: tuple[tuple[str, Literal["boolean", "integer", "number"]], ...] = (
    ("BOOL", "boolean"), ("TINYINT", "integer"), ("SMALLINT", "integer"), ("INT", "integer"), ("BIGINT", "integer"),
    ("HUGEINT", "integer"), ("U", "integer"), ("FLOAT", "number"), ("DOUBLE", "number"), ("DECIMAL", "number"),
)  # fmt: skip

NOTE = "of so large a Parquet file the footer alone was looked at: what it says of columns and rows"


def write_footer(path: Path, size: int, read: Callable[[int, int], Iterable[bytes]]) -> None:
    """A file of ``size`` bytes at ``path``, of which nothing but the end is there: it takes as much room as that.

    ``read`` gives the bytes from a first up to, not including, a last. A footer that is too large is left out, for the
    reader to tell.
    """
    length = int.from_bytes(b"".join(read(max(0, size - 8), size))[:4], "little") + 8
    start = size - length if length <= min(size, MAX_FOOTER) else max(0, size - 8)
    with path.open("wb") as target:
        target.truncate(size)
        target.seek(start)
        for block in read(start, size):
            target.write(block)


def look_into_footer(file: DataFile) -> Found:
    """Raises ``dataset_invalid``."""
    with scratch() as folder:
        types = column_types(file, folder)
        with connect(file.path, folder) as (connection, name):
            try:
                rows = connection.execute(f"SELECT sum(num_rows) FROM parquet_file_metadata({name})").fetchall()
                nulls = connection.execute(
                    f"SELECT path_in_schema, sum(stats_null_count)::BIGINT FROM parquet_metadata({name}) GROUP BY 1"
                ).fetchall()
            except duck.Error as error:
                raise not_parquet(file, error) from None
    if not rows[0][0]:
        raise file.error("the file has no rows")
    missing = {column: int(count or 0) for column, count in nulls}
    columns = [
        ColumnInfo(name=column, type=_type(kind), nulls=missing.get(column, 0), examples=[])
        for column, kind in list(types.items())[:DESCRIBED]
    ]
    return Found(int(rows[0][0]), exact=True, columns=columns, notes=[NOTE])


def _type(kind: str) -> Literal["text", "integer", "number", "boolean", "list"]:
    if LIST_END.search(kind):
        return "list"
    return next((name for begins, name in TYPES if kind.startswith(begins) and kind != "UUID"), "text")
