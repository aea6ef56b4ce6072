"""What every source of data becomes."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

from sources.beneath import open_plain

TextRow = tuple[str, ...]
Labels = Sequence[int] | Sequence[float]

CHUNK_ROWS = 4096


@dataclass(frozen=True)
class Rows:
    """Labelled texts: one to four texts a row, and its label id (or number, for a regression).

    Neither need be in memory as objects: ``texts`` may lie in a file. ``sha256`` is that of the bytes of the files they
    were read from; ``dropped`` counts the rows left out as unusable, ``skipped`` those of the user's own by reason.
    """

    texts: Sequence[TextRow]
    labels: Labels
    source: str
    sha256: str
    dropped: int = 0
    skipped: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.texts)

    def chunks(self) -> Iterator[Sequence[TextRow]]:
        """The texts, some thousands at a time."""
        for start in range(0, len(self.texts), CHUNK_ROWS):
            yield self.texts[start : start + CHUNK_ROWS]

    def digest(self) -> str:
        """sha256 of the texts and labels themselves, in their order: of what is learned, wherever it was read."""
        labels = array(_code(self.labels), self.labels)
        found = hashlib.sha256(labels.typecode.encode() + labels.tobytes())
        for chunk in self.chunks():
            for row in chunk:
                for text in row:
                    # GLUE's own files may have brought lone surrogates, which plain UTF-8 refuses.
                    coded = text.encode("utf-8", "surrogatepass")
                    found.update(len(coded).to_bytes(8, "little"))
                    found.update(coded)
        return found.hexdigest()

    def pick(self, indexes: Iterable[int], source: str) -> Rows:
        """The rows at ``indexes``, in that order."""
        chosen = array("q", indexes)
        labels = array(_code(self.labels), (self.labels[at] for at in chosen))
        return Rows(PickedTexts(self.texts, chosen), labels, source, self.sha256, self.dropped, self.skipped)


def _code(labels: Labels) -> str:
    """Of an array of them: numbers, or ids."""
    return "d" if isinstance(next(iter(labels), 0), float) else "q"


def one_text_a_row(rows: Rows) -> Rows:
    """Row i's texts are rows w · i and after, of ``w`` texts a row; each has the label of row i."""
    width = len(rows.texts[0])
    labels = array(_code(rows.labels), (label for label in rows.labels for _ in range(width)))
    return Rows(SingleTexts(rows.texts, width), labels, rows.source, rows.sha256, rows.dropped, rows.skipped)


class Texts(Sequence[TextRow], ABC):
    """Rows that are made when they are asked for."""

    @abstractmethod
    def row(self, at: int) -> TextRow:
        """The row of that number, which is there."""

    @overload
    def __getitem__(self, at: int) -> TextRow: ...

    @overload
    def __getitem__(self, at: slice) -> list[TextRow]: ...

    def __getitem__(self, at: int | slice) -> TextRow | list[TextRow]:
        if isinstance(at, slice):
            return [self.row(row) for row in range(*at.indices(len(self)))]
        if not -len(self) <= at < len(self):
            raise IndexError(at)
        return self.row(at % len(self))


class PickedTexts(Texts):
    """Some of ``texts``, in another order; none is copied."""

    def __init__(self, texts: Sequence[TextRow], indexes: array[int]) -> None:
        self._texts, self._indexes = texts, indexes

    def __len__(self) -> int:
        return len(self._indexes)

    def row(self, at: int) -> TextRow:
        return self._texts[self._indexes[at]]


class SingleTexts(Texts):
    """Each text of rows of ``width`` texts, as a row of its own; none is copied."""

    def __init__(self, texts: Sequence[TextRow], width: int) -> None:
        self._texts, self._width = texts, width

    def __len__(self) -> int:
        return len(self._texts) * self._width

    def row(self, at: int) -> TextRow:
        return (self._texts[at // self._width][at % self._width],)


def hash_files(paths: Iterable[Path]) -> str:
    """sha256 of the bytes of ``paths``, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with open_plain(path) as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
