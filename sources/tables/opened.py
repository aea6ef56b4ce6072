"""What a format knows of a file that is open."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from api_schemas.errors import LayercutError
from api_schemas.read_spec import ReadSpec
from sources.tables.data_file import DataFile

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be read: ``reason`` is the kind of fault, ``message`` what is wrong with this one."""

    place: str
    reason: str
    message: str


class Opened(Protocol):
    """One file of one format. ``expands``: its texts may be far larger than the file."""

    @property
    def expands(self) -> bool: ...

    @property
    def path(self) -> Path:
        """What DuckDB reads."""

    @property
    def read(self) -> ReadSpec:
        """How it is read, with every auto decided."""

    def query(self, name: str) -> str:
        """SQL that gives the columns as texts v0, v1 …, NULL where there is none; the file is called ``name``."""

    def bad_rows(self, connection: duckdb.DuckDBPyConnection, placed: int = 0) -> Sequence[BadRow]:
        """The rows that the last query left out, in the order of the file; the first ``placed`` with their places."""

    def agrees(self, first: Iterator[tuple[str | None, ...]]) -> bool:
        """Whether these are the first rows of the file; no more of them are taken than are compared."""

    def place(self, row: int) -> str:
        """Where the row of that number, from 0, stands: a line where the format has lines."""

    def rewritten(self, connection: duckdb.DuckDBPyConnection, name: str) -> Opened | None:
        """The same rows, written or read so that DuckDB takes what it gave up on; None where that would not help."""

    def explained(self, error: duckdb.Error) -> LayercutError:
        """What is wrong with the file, in words of ours."""


class Opener(Protocol):
    """Opens the columns of a file, of which ``lists`` may hold lists; the folder is for what must be rewritten.

    A list is given as JSON text. Raises ``dataset_invalid``.
    """

    def __call__(
        self, file: DataFile, columns: Sequence[str], asked: ReadSpec, folder: Path, lists: Collection[str] = (), /
    ) -> Opened: ...
