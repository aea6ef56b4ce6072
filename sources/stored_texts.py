"""Texts that lie in a temporary file: ten million of them are no ten million objects."""

from __future__ import annotations

import os
import weakref
from array import array
from collections.abc import Iterable
from itertools import pairwise
from tempfile import TemporaryFile

from sources.rows import TextRow, Texts


class StoredTexts(Texts):
    """Rows of ``width`` texts each. Filled with ``extend``."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._file = TemporaryFile(prefix="layercut-texts-")  # noqa: SIM115 - rows outlive whoever read them
        weakref.finalize(self, self._file.close)
        self._ends = array("Q", [0])
        self._unwritten = False

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
        self._unwritten = True

    def __len__(self) -> int:
        return (len(self._ends) - 1) // self._width

    def row(self, at: int) -> TextRow:
        if self._unwritten:
            self._file.flush()
            self._unwritten = False
        ends = self._ends[at * self._width : (at + 1) * self._width + 1]
        # Not mapped: pages of a map that were read count as memory of this process.
        found = os.pread(self._file.fileno(), ends[-1] - ends[0], ends[0])
        return tuple(found[start - ends[0] : end - ends[0]].decode() for start, end in pairwise(ends))
