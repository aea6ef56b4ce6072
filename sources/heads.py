"""What the beginning of a table shows that is too large to be fetched for a look: whether its columns are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from api_schemas.errors import LayercutError
from api_schemas.read_spec import ReadSpec
from sources.fetched import Span
from sources.tables.beginnings import write_head
from sources.tables.bounds import LOOK_SECONDS, MAX_FOOTER, MIB
from sources.tables.data_file import DataFile
from sources.tables.duck import scratch
from sources.tables.table import FORMATS

HEAD_BYTES = 8 * MIB
PARQUET = ".parquet"


def spans_of(kind: str, size: int) -> tuple[Span, ...]:
    """What is fetched of a file of that ending and ``size``; a Parquet lists its columns at its end."""
    if kind == PARQUET:
        return (0, len("PAR1")), (size - MAX_FOOTER - 8, size)
    return ((0, HEAD_BYTES),)


def check_head(file: DataFile, ways: Sequence[Sequence[str]], read: ReadSpec, lists: Sequence[str] = ()) -> None:
    """Raise ``dataset_invalid`` where a ``partial`` file has none of the ``ways`` in which its columns may be called;
    ``lists`` are columns that may hold lists.
    """
    if file.kind not in FORMATS:
        return
    with file.within(LOOK_SECONDS).pinned() as pinned, scratch() as folder:
        begun = _beginning(pinned, folder)
        wrong = [error for way in ways if (error := _wrong(begun, way, read, folder, lists)) is not None]
        if wrong and len(wrong) == len(ways):
            raise wrong[0]


def _wrong(
    file: DataFile, columns: Sequence[str], read: ReadSpec, folder: Path, lists: Sequence[str]
) -> LayercutError | None:
    try:
        FORMATS[file.kind](file, columns, read, folder, lists)
    except LayercutError as error:
        return error
    return None


def _beginning(file: DataFile, folder: Path) -> DataFile:
    """The whole rows with which it begins, as a file of their own; a Parquet is opened as it is."""
    if file.kind == PARQUET:
        return file
    path = folder / "beginning"
    with file.path.open("rb") as opened:
        write_head(path, file.kind, [opened.read(HEAD_BYTES)])
    return replace(file, path=path)
