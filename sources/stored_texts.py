"""Texts that lie in a temporary file: ten million of them are no ten million objects."""

from __future__ import annotations

import mmap
import weakref
from array import array
from collections.abc import Iterable
from itertools import pairwise
from tempfile import TemporaryFile

from sources.rows import TextRow, Texts


class StoredTexts(Texts):
    """Rows of ``width`` texts each. Filled with ``extend``, then read; what is added after that is not seen."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._file = TemporaryFile(prefix="layercut-texts-")  # noqa: SIM115 - rows outlive whoever read them
        weakref.finalize(self, self._file.close)
        self._ends = array("Q", [0])
        self._bytes: mmap.mmap | bytes | None = None

    def extend(self, rows: Iterable[TextRow]) -> None:
        end = self._ends[-1]
        block = bytearray()
        for row in rows:
            for text in row:
                coded = text.encode()
                block += coded
                end += len(coded)
                self._ends.append(end)
        self._file.write(block)

    def __len__(self) -> int:
        return (len(self._ends) - 1) // self._width

    def row(self, at: int) -> TextRow:
        if self._bytes is None:
            self._file.flush()
            # There is nothing to map of an empty file.
            self._bytes = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) if self._ends[-1] else b""
        ends = self._ends[at * self._width : (at + 1) * self._width + 1]
        return tuple(self._bytes[start:end].decode() for start, end in pairwise(ends))
