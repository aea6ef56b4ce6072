"""What every source of data becomes."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

from sources.beneath import open_plain

TextRow = tuple[str, ...]
#: A row's: a class (its id), a number, a set of classes, or a class for each word.
Label = int | float | tuple[int, ...]
Labels = Sequence[int] | Sequence[float] | Sequence[tuple[int, ...]]

CHUNK_ROWS = 4096


@dataclass(frozen=True)
class Rows:
    """Texts and their labels, by the task's label form:

    - class: one to four texts a row, and an id · number: as many, and a float;
    - classes: as many, and the ids of the row's labels, sorted, or none of them;
    - tags: the words of a sentence, and an id for each · None: as many texts as the task has columns, and 0.

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
        found, widths = hashlib.sha256(_labels_bytes(self.labels)), array("I")
        for chunk in self.chunks():
            for row in chunk:
                widths.append(len(row))
                for text in row:
                    # GLUE's own files may have brought lone surrogates, which plain UTF-8 refuses.
                    coded = text.encode("utf-8", "surrogatepass")
                    found.update(len(coded).to_bytes(8, "little"))
                    found.update(coded)
        if any(width != widths[0] for width in widths):  # of sentences
            found.update(widths.tobytes())
        return found.hexdigest()

    def pick(self, indexes: Iterable[int], source: str) -> Rows:
        """The rows at ``indexes``, in that order."""
        chosen = array("q", indexes)
        labels = _gathered(self.labels, chosen)
        return Rows(PickedTexts(self.texts, chosen), labels, source, self.sha256, self.dropped, self.skipped)


class RaggedLabels(Sequence[tuple[int, ...]]):
    """A tuple of ids a row, as two arrays: those of all rows in ``values``, and where each row's end in ``ends``, the
    first of which is 0.
    """

    def __init__(self, rows: Iterable[Sequence[int]] = ()) -> None:
        self.values, self.ends = array("i"), array("q", [0])
        for row in rows:
            self.append(row)

    def append(self, row: Sequence[int]) -> None:
        self.values.extend(row)
        self.ends.append(len(self.values))

    def renamed(self, ids: Sequence[int], *, as_sets: bool) -> RaggedLabels:
        """With ``ids[id]`` for each id; where ``as_sets``, each row is sorted, and has none twice."""
        rows = (tuple(ids[id] for id in row) for row in self)
        return RaggedLabels(sorted(set(row)) for row in rows) if as_sets else RaggedLabels(rows)

    def __len__(self) -> int:
        return len(self.ends) - 1

    @overload
    def __getitem__(self, at: int) -> tuple[int, ...]: ...

    @overload
    def __getitem__(self, at: slice) -> list[tuple[int, ...]]: ...

    def __getitem__(self, at: int | slice) -> tuple[int, ...] | list[tuple[int, ...]]:
        if isinstance(at, slice):
            return [self._row(row) for row in range(*at.indices(len(self)))]
        if not -len(self) <= at < len(self):
            raise IndexError(at)
        return self._row(at % len(self))

    def _row(self, at: int) -> tuple[int, ...]:
        return tuple(self.values[self.ends[at] : self.ends[at + 1]])


def _labels_bytes(labels: Labels) -> bytes:
    if isinstance(labels, RaggedLabels):
        return b"ragged" + len(labels).to_bytes(8, "little") + labels.ends.tobytes() + labels.values.tobytes()
    flat = _flat(labels, labels)
    return flat.typecode.encode() + flat.tobytes()


def _gathered(labels: Labels, chosen: Iterable[int]) -> Labels:
    if isinstance(labels, RaggedLabels):
        return RaggedLabels(labels[at] for at in chosen)
    return _flat(labels, (labels[at] for at in chosen))


def _flat(labels: Labels, chosen: Iterable[Any]) -> array[Any]:
    """``chosen`` of ``labels``, which are numbers, or ids."""
    return array("d" if isinstance(next(iter(labels), 0), float) else "q", chosen)


def one_text_a_row(rows: Rows) -> Rows:
    """Row i's texts are rows w · i and after, of ``w`` texts a row; each has the number of row i."""
    width = len(rows.texts[0])
    labels = array("d", (float(label) for label in rows.labels for _ in range(width)))  # type: ignore[arg-type]
    return Rows(SingleTexts(rows.texts, width), labels, rows.source, rows.sha256, rows.dropped, rows.skipped)


@dataclass
class Tally:
    """Of one pass through a file: how many rows it has, and how many of these are left out, by reason."""

    rows: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def good(self) -> int:
        return self.rows - self.skipped.total()

    def left_out(self) -> dict[str, Any]:
        """As ``Rows`` has it."""
        return {"dropped": self.skipped.total(), "skipped": dict(self.skipped)}


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


def zeros(count: int) -> array[int]:
    """The labels of rows that have none."""
    return array("q", bytes(8 * count))


class ReadTexts(Texts):
    """``texts`` as ``read`` gives each of them."""

    def __init__(self, texts: Sequence[TextRow], read: Callable[[str], str]) -> None:
        self._texts, self._read = texts, read

    def __len__(self) -> int:
        return len(self._texts)

    def row(self, at: int) -> TextRow:
        return tuple(map(self._read, self._texts[at]))


def hash_files(paths: Iterable[Path]) -> str:
    """sha256 of the bytes of ``paths``, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with open_plain(path) as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
