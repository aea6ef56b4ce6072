"""Tokenized rows, ragged: no padding is stored, so a batch pays only for its own longest row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError
from transformers import PreTrainedTokenizerBase

from sources.cached_files import Unusable, read_json
from sources.rows import Rows, TextRow
from workers.data.arrays import map_array, read_array

IDS, TYPES, OFFSETS, LABELS, PADDING = "ids.bin", "types.bin", "offsets.npy", "labels.npy", "padding.json"


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

    @classmethod
    def read(cls, path: Path) -> Padding:
        """Raises ``Unusable``."""
        try:
            return TypeAdapter(cls).validate_python(read_json(path))
        except ValidationError:
            raise Unusable(path.name, "it does not say how a batch is filled up") from None


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
    def fits_together(self) -> bool:
        """Whether the rows follow one another, and are all there is."""
        whole = len(self.offsets) == len(self) + 1 and self.offsets[0] == 0 and self.offsets[-1] == len(self.ids)
        typed = self.types is None or len(self.types) == len(self.ids)
        return bool(whole and typed and (self.lengths >= 0).all())

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
    chunks = list(_chunks(tokenizer, rows, max_length))
    lengths = np.concatenate([chunk.lengths for chunk in chunks])
    types = [chunk.types for chunk in chunks if chunk.types is not None]
    return Features(
        ids=np.concatenate([chunk.ids for chunk in chunks]),
        types=np.concatenate(types) if types else None,
        offsets=_offsets(lengths),
        labels=labels_of(rows, regression),
        padding=Padding.of(tokenizer),
    )


def encode_into(
    tokenizer: PreTrainedTokenizerBase,
    rows: Rows,
    max_length: int,
    folder: Path,
    *,
    regression: bool,
    done: Callable[[int, int], None] = lambda _rows, _of: None,
) -> None:
    """As ``encode``, written to ``folder`` as it is made."""
    lengths: list[npt.NDArray[np.int64]] = []
    with (folder / IDS).open("wb") as ids, (folder / TYPES).open("wb") as types:
        for chunk in _chunks(tokenizer, rows, max_length):
            chunk.ids.tofile(ids)
            if chunk.types is not None:
                chunk.types.tofile(types)
            lengths.append(chunk.lengths)
            done(sum(map(len, lengths)), len(rows))
    if not (folder / TYPES).stat().st_size:
        (folder / TYPES).unlink()
    np.save(folder / OFFSETS, _offsets(np.concatenate(lengths)), allow_pickle=False)
    np.save(folder / LABELS, labels_of(rows, regression), allow_pickle=False)
    (folder / PADDING).write_text(json.dumps(asdict(Padding.of(tokenizer))), encoding="utf-8")


def load_features(folder: Path) -> Features:
    """What ``encode_into`` wrote. Tokens stay on the disk: pages come in as batches need them. Raises ``Unusable`` for
    what it cannot have written.
    """
    types = folder / TYPES
    found = Features(
        ids=map_array(folder / IDS, np.int32),
        types=map_array(types, np.int8) if types.exists() else None,
        offsets=read_array(folder / OFFSETS),
        labels=read_array(folder / LABELS),
        padding=Padding.read(folder / PADDING),
    )
    if not found.fits_together:
        raise Unusable(OFFSETS, "tokens, rows and labels do not go together")
    return found


@dataclass(frozen=True)
class _Chunk:
    ids: npt.NDArray[np.int32]
    types: npt.NDArray[np.int8] | None
    lengths: npt.NDArray[np.int64]


def _chunks(tokenizer: PreTrainedTokenizerBase, rows: Rows, max_length: int) -> Iterator[_Chunk]:
    for chunk in rows.chunks():
        encoded = tokenizer(
            *_sides(chunk, tokenizer), truncation=True, max_length=max_length, padding=False, verbose=False
        )
        ids, types = encoded["input_ids"], encoded.get("token_type_ids")
        yield _Chunk(
            ids=np.fromiter(chain.from_iterable(ids), dtype=np.int32),
            types=None if types is None else np.fromiter(chain.from_iterable(types), dtype=np.int8),
            lengths=np.fromiter(map(len, ids), dtype=np.int64),
        )


def _sides(rows: Sequence[TextRow], tokenizer: PreTrainedTokenizerBase) -> list[list[str]]:
    """One text, or the two of the tokenizer's pair. Of more, all after the first are the second, with the separator
    between them, or a line end where the tokenizer has none.
    """
    between = f" {tokenizer.sep_token} " if tokenizer.sep_token else "\n"
    first, *others = zip(*rows, strict=True)
    return [list(first)] + ([list(map(between.join, zip(*others, strict=True)))] if others else [])


def _offsets(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def labels_of(rows: Rows, regression: bool) -> npt.NDArray[Any]:
    """``(N,)``, as in ``Features``."""
    return np.asarray(rows.labels, dtype=np.float32 if regression else np.int64)
