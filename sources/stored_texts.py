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
    """Rows of ``width`` texts each, or of any number where that is None. Filled with ``extend``."""

    def __init__(self, width: int | None) -> None:
        self._width = width
        #: Where each row's texts end, in ``_ends``, where rows differ in how many they have.
        self._stops = array("Q", [0])
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
            if self._width is None:
                self._stops.append(len(self._ends) - 1)
        self._file.write(block)
        self._unwritten = True

    def __len__(self) -> int:
        return len(self._stops) - 1 if self._width is None else (len(self._ends) - 1) // self._width

    def row(self, at: int) -> TextRow:
        if self._unwritten:
            self._file.flush()
            self._unwritten = False
        first, stop = self._within(at)
        ends = self._ends[first : stop + 1]
        # Not mapped: pages of a map that were read count as memory of this process.
        found = os.pread(self._file.fileno(), ends[-1] - ends[0], ends[0])
        return tuple(found[start - ends[0] : end - ends[0]].decode() for start, end in pairwise(ends))

    def _within(self, at: int) -> tuple[int, int]:
        """Which of all texts are those of the row."""
        if self._width is None:
            return self._stops[at], self._stops[at + 1]
        return at * self._width, (at + 1) * self._width
