"""A table that is loud: a name taken twice is refused, an unknown name is answered with the near ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol, TypeVar

from api_schemas.errors import LayercutError
from api_schemas.names import hint, loose, spelled


class Named(Protocol):
    @property
    def name(self) -> str: ...


Row = TypeVar("Row", bound=Named)


class Registry(Mapping[str, Row]):
    """Rows by name, in the order in which they were written.

    ``what`` names one row in messages ("strategy"); ``code`` is the error code of an unknown name.
    """

    def __init__(self, what: str, code: str, rows: tuple[Row, ...]) -> None:
        self.what = what
        self.code = code
        self._rows: dict[str, Row] = {}
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        if loose(row.name) in map(loose, self._rows):
            raise ValueError(f"{self.what} {row.name!r} stands in the table twice")
        self._rows[row.name] = row

    def find(self, name: str, param: str | None = None) -> Row:
        """The row of that name, however it is spelled; raises ``LayercutError`` that names the near ones."""
        row = self._rows.get(spelled(name, self._rows))
        if row is not None:
            return row
        raise LayercutError(self.code, f"unknown {self.what} {name!r}; {hint(name, self._rows)}", param=param)

    def __getitem__(self, name: str) -> Row:
        return self._rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)
