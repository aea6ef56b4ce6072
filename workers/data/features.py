"""Tokenized rows, ragged: no padding is stored, so a batch pays only for its own longest row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from sources.rows import Rows

CHUNK_ROWS = 4096


@dataclass(frozen=True)
class Padding:
    """How a batch of this tokenizer is filled up."""

    token: int
    token_type: int
    left: bool

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> Padding:
        return cls(
            token=tokenizer.pad_token_id or 0,
            token_type=tokenizer.pad_token_type_id,
            left=tokenizer.padding_side == "left",
        )


@dataclass(frozen=True)
class Features:
    """``N`` rows of ``T`` tokens in all. Row ``i`` is ``ids[offsets[i]:offsets[i + 1]]``.

    ``ids`` int32 ``(T,)``; ``types`` int8 ``(T,)``, or None where the tokenizer makes none; ``offsets`` int64
    ``(N + 1,)``; ``labels`` int64 or, for a regression, float32 ``(N,)``.
    """

    ids: npt.NDArray[np.int32]
    types: npt.NDArray[np.int8] | None
    offsets: npt.NDArray[np.int64]
    labels: npt.NDArray[Any]
    padding: Padding

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens in each row, ``(N,)``."""
        return np.diff(self.offsets)

    def take(self, rows: npt.NDArray[np.int64]) -> Features:
        """The rows of these indexes, in this order."""
        spans = [slice(self.offsets[row], self.offsets[row + 1]) for row in rows]
        return Features(
            ids=np.concatenate([self.ids[span] for span in spans]),
            types=None if self.types is None else np.concatenate([self.types[span] for span in spans]),
            offsets=np.concatenate([[0], np.cumsum(self.lengths[rows])]).astype(np.int64),
            labels=self.labels[rows],
            padding=self.padding,
        )


def encode(tokenizer: PreTrainedTokenizerBase, rows: Rows, max_length: int, *, regression: bool) -> Features:
    """Tokenize every row once, cut to ``max_length`` tokens (of a pair, the longer text first)."""
    ids: list[npt.NDArray[np.int32]] = []
    types: list[npt.NDArray[np.int8]] = []
    for start in range(0, len(rows.texts), CHUNK_ROWS):
        columns = list(zip(*rows.texts[start : start + CHUNK_ROWS], strict=True))
        encoded = tokenizer(
            *(list(column) for column in columns), truncation=True, max_length=max_length, padding=False, verbose=False
        )
        ids += [np.asarray(row, dtype=np.int32) for row in encoded["input_ids"]]
        types += [np.asarray(row, dtype=np.int8) for row in encoded.get("token_type_ids", ())]
    return Features(
        ids=np.concatenate(ids),
        types=np.concatenate(types) if types else None,
        offsets=np.concatenate([[0], np.cumsum([len(row) for row in ids])]).astype(np.int64),
        labels=np.asarray(rows.labels, dtype=np.float32 if regression else np.int64),
        padding=Padding.of(tokenizer),
    )
