"""How much text a job reads, as far as it can be told without reading all of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: Of English, in the usual vocabularies of 30 to 50 thousand pieces; special tokens come on top.
BYTES_PER_TOKEN = 4.5


@dataclass(frozen=True)
class SplitSize:
    """``lengths``: bytes of text of some rows, each with ``texts`` texts."""

    rows: int
    lengths: Sequence[int]
    texts: int = 1

    def tokens_a_row(self, max_length: int) -> float:
        """On average, special tokens counted, cut at ``max_length``; estimated."""
        special = self.texts + 1
        found = [min(max_length, length / BYTES_PER_TOKEN + special) for length in self.lengths]
        return math.fsum(found) / len(found) if found else float(max_length)

    @property
    def bytes(self) -> float:
        """Of all texts."""
        return self.rows * math.fsum(self.lengths) / max(1, len(self.lengths))

    def of(self, rows: int) -> SplitSize:
        """The same texts, but so many."""
        return SplitSize(rows, self.lengths, self.texts)


@dataclass(frozen=True)
class DataSize:
    """``dev``: all splits that are scored on; ``text``: what is learnt from beside the labelled rows."""

    train: SplitSize
    dev: SplitSize
    text: SplitSize | None = None
    unknown: tuple[str, ...] = ()
