"""Tokenized rows, ragged: no padding is stored, so a batch pays only for its own longest row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError
from transformers import BatchEncoding, PreTrainedTokenizerBase

from api_schemas.task_kinds import LabelForm
from sources.cached_files import Unusable, read_json
from sources.rows import Rows, TextRow
from workers.data.arrays import map_array, read_array

IDS, TYPES, OFFSETS, LABELS, PADDING = "ids.bin", "types.bin", "offsets.npy", "labels.npy", "padding.json"
LOST = "lost.npy"

#: Of a token that has no tag to learn or to give: a special one, or a word's second.
NO_TAG = -100
#: Of a row, or of a word's first token, whose label nobody gave.
UNKNOWN = -1


@dataclass(frozen=True)
class LabelShape:
    """What labels become in ``Features``. ``count``: of the names, where a row has any number of them."""

    form: LabelForm | None
    count: int = 0

    @property
    def per_token(self) -> bool:
        return self.form == "tags"


CLASS, NUMBER = LabelShape("class"), LabelShape("number")


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


#: No word without a token.
NONE_LOST: npt.NDArray[np.int64] = np.empty((0, 3), dtype=np.int64)


@dataclass(frozen=True)
class Features:
    """``N`` rows of ``T`` tokens in all. Row ``i`` is ``ids[offsets[i]:offsets[i + 1]]``.

    ``ids`` int32 ``(T,)``; ``types`` int8 ``(T,)``, or None where the tokenizer makes none; ``offsets`` int64
    ``(N + 1,)``. ``labels``: int64 ``(N,)`` ids; float32 ``(N,)`` numbers; float32 ``(N, C)``, 1 for each label that a
    row has; or, ``per_token``, int64 ``(T,)`` tags. Of text without labels ``UNKNOWN``, or NaN. ``lost`` int64
    ``(L, 3)``: row, place in the row and tag of each word that was cut off, or that the tokenizer makes nothing of.
    """

    ids: npt.NDArray[np.int32]
    types: npt.NDArray[np.int8] | None
    offsets: npt.NDArray[np.int64]
    labels: npt.NDArray[Any]
    padding: Padding
    per_token: bool = False
    lost: npt.NDArray[np.int64] = field(default_factory=lambda: NONE_LOST)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def fits_together(self) -> bool:
        """Whether the rows follow one another, and are all there is."""
        labelled = len(self.labels) == (len(self.ids) if self.per_token else len(self))
        whole = labelled and self.offsets[0] == 0 and self.offsets[-1] == len(self.ids)
        typed = self.types is None or len(self.types) == len(self.ids)
        return bool(whole and typed and (self.lengths >= 0).all() and self._lost_fit)

    @property
    def _lost_fit(self) -> bool:
        """Whether each lost word has its place among its row's words: in order, and none twice."""
        if not len(self.lost):
            return True
        rows, places, _ = self.lost.T
        if self.lost.dtype.kind != "i" or rows.min() < 0 or rows.max() >= len(self) or places.min() < 0:
            return False
        ordered = np.lexsort((places, rows))
        distinct = (np.diff(rows) != 0) | (np.diff(places) > 0)
        read = np.concatenate([[0], np.cumsum(self.labels != NO_TAG)])[self.offsets]
        words = np.diff(read)[rows] + np.bincount(rows)[rows]
        return bool((ordered == np.arange(len(rows))).all() and distinct.all() and (places < words).all())

    def lost_of(self, row: int) -> npt.NDArray[np.int64]:
        """``(K, 2)``: place and tag of each lost word of the row."""
        start, end = np.searchsorted(self.lost[:, 0], [row, row + 1])
        return self.lost[start:end, 1:]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens in each row, ``(N,)``."""
        return np.diff(self.offsets)

    def tokens_of(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Indexes into ``ids`` of all tokens of these rows, row after row."""
        return np.concatenate([np.arange(self.offsets[row], self.offsets[row + 1]) for row in rows])

    def places(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Indexes into ``labels`` of what is answered of these rows: the rows, or all of their tokens."""
        return self.tokens_of(rows) if self.per_token else rows

    def take(self, rows: npt.NDArray[np.int64]) -> Features:
        """The rows of these indexes, in this order."""
        spans = [slice(self.offsets[row], self.offsets[row + 1]) for row in rows]
        return Features(
            ids=np.concatenate([self.ids[span] for span in spans]),
            types=None if self.types is None else np.concatenate([self.types[span] for span in spans]),
            offsets=np.concatenate([[0], np.cumsum(self.lengths[rows])]).astype(np.int64),
            labels=self.labels[self.places(rows)],
            padding=self.padding,
            per_token=self.per_token,
            lost=_moved([self.lost_of(row) for row in rows]) if len(self.lost) else NONE_LOST,
        )

    def joined(self, other: Features) -> Features:
        """These rows, and those of ``other`` after them; of one tokenizer."""
        types = None if self.types is None or other.types is None else np.concatenate([self.types, other.types])
        return replace(
            self,
            ids=np.concatenate([self.ids, other.ids]),
            types=types,
            offsets=np.concatenate([self.offsets, other.offsets[1:] + self.offsets[-1]]),
            labels=np.concatenate([self.labels, other.labels]),
            lost=np.concatenate([self.lost, other.lost + np.array([len(self), 0, 0])]),
        )


def encode(
    tokenizer: PreTrainedTokenizerBase, rows: Rows, max_length: int, shape: LabelShape, *, labelled: bool = True
) -> Features:
    """Tokenize every row once, cut to ``max_length`` tokens (of a pair, the longer text first). Where they are not
    ``labelled``, the labels of ``rows`` are not looked at.
    """
    chunks = list(_chunks(tokenizer, rows, max_length, shape, labelled))
    lengths = np.concatenate([chunk.lengths for chunk in chunks])
    types = [chunk.types for chunk in chunks if chunk.types is not None]
    return Features(
        ids=np.concatenate([chunk.ids for chunk in chunks]),
        types=np.concatenate(types) if types else None,
        offsets=_offsets(lengths),
        labels=_labels(rows, shape, labelled, [chunk.tags for chunk in chunks]),
        padding=Padding.of(tokenizer),
        per_token=shape.per_token,
        lost=np.concatenate([chunk.lost for chunk in chunks]),
    )


def encode_into(
    tokenizer: PreTrainedTokenizerBase,
    rows: Rows,
    max_length: int,
    folder: Path,
    *,
    shape: LabelShape,
    labelled: bool = True,
    done: Callable[[int, int], None] = lambda _rows, _of: None,
) -> None:
    """As ``encode``, written to ``folder`` as it is made."""
    lengths: list[npt.NDArray[np.int64]] = []
    tags: list[npt.NDArray[np.int64]] = []
    lost: list[npt.NDArray[np.int64]] = []
    with (folder / IDS).open("wb") as ids, (folder / TYPES).open("wb") as types:
        for chunk in _chunks(tokenizer, rows, max_length, shape, labelled):
            chunk.ids.tofile(ids)
            if chunk.types is not None:
                chunk.types.tofile(types)
            lengths.append(chunk.lengths)
            tags.append(chunk.tags)
            lost.append(chunk.lost)
            done(sum(map(len, lengths)), len(rows))
    if not (folder / TYPES).stat().st_size:
        (folder / TYPES).unlink()
    np.save(folder / OFFSETS, _offsets(np.concatenate(lengths)), allow_pickle=False)
    np.save(folder / LABELS, _labels(rows, shape, labelled, tags), allow_pickle=False)
    if shape.per_token:
        np.save(folder / LOST, np.concatenate(lost), allow_pickle=False)
    (folder / PADDING).write_text(json.dumps(asdict(Padding.of(tokenizer))), encoding="utf-8")


def load_features(folder: Path, shape: LabelShape, *, labelled: bool = True) -> Features:
    """What ``encode_into`` wrote. Tokens stay on the disk: pages come in as batches need them. Raises ``Unusable`` for
    what it cannot have written.
    """
    types = folder / TYPES
    found = Features(
        ids=map_array(folder / IDS, np.int32),
        types=map_array(types, np.int8) if types.exists() else None,
        offsets=read_array(folder / OFFSETS),
        labels=read_array(folder / LABELS, dimensions=2 if shape.form == "classes" else 1, finite=labelled),
        padding=Padding.read(folder / PADDING),
        per_token=shape.per_token,
        lost=read_array(folder / LOST, dimensions=2) if shape.per_token else NONE_LOST,
    )
    if not found.fits_together:
        raise Unusable(OFFSETS, "tokens, rows and labels do not go together")
    return found


@dataclass(frozen=True)
class _Chunk:
    ids: npt.NDArray[np.int32]
    types: npt.NDArray[np.int8] | None
    lengths: npt.NDArray[np.int64]
    tags: npt.NDArray[np.int64]
    lost: npt.NDArray[np.int64]


_NO_TAGS = np.empty(0, dtype=np.int64)


def _chunks(
    tokenizer: PreTrainedTokenizerBase, rows: Rows, max_length: int, shape: LabelShape, labelled: bool
) -> Iterator[_Chunk]:
    start = 0
    for chunk in rows.chunks():
        sides = [_words(chunk, tokenizer)] if shape.per_token else _sides(chunk, tokenizer)
        encoded = tokenizer(
            *sides, truncation=True, max_length=max_length, padding=False, verbose=False,
            is_split_into_words=shape.per_token,
        )  # fmt: skip
        ids, types = encoded["input_ids"], encoded.get("token_type_ids")
        tags, lost = _NO_TAGS, NONE_LOST
        if shape.per_token:
            given = rows.labels[start : start + len(chunk)] if labelled else [[UNKNOWN] * len(words) for words in chunk]
            tags, lost = _tags(encoded, given)
        yield _Chunk(
            ids=np.fromiter(chain.from_iterable(ids), dtype=np.int32),
            types=None if types is None else np.fromiter(chain.from_iterable(types), dtype=np.int8),
            lengths=np.fromiter(map(len, ids), dtype=np.int64),
            tags=tags,
            lost=lost + np.array([start, 0, 0]),
        )
        start += len(chunk)


def _tags(encoded: BatchEncoding, labels: Sequence[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Of every token of some rows: a word's tag on its first token, and ``NO_TAG`` elsewhere. And the lost words."""
    found, lost = [], []
    for at, given in enumerate(labels):
        words = np.array([-1 if word is None else word for word in encoded.word_ids(at)], dtype=np.int64)
        first = (words >= 0) & np.diff(words, prepend=-1).astype(bool)
        tags = np.asarray(given, dtype=np.int64)
        found.append(np.where(first, np.append(tags, NO_TAG)[words], NO_TAG))
        missing = np.setdiff1d(np.arange(len(tags)), words)
        lost.append(np.stack([missing, tags[missing]], axis=1))
    return np.concatenate(found), _moved(lost)


def _moved(lost: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """As in ``Features``: of each row, place and tag of its lost words."""
    rows = np.repeat(np.arange(len(lost)), [len(row) for row in lost])
    return np.column_stack([rows, np.concatenate(lost)]).astype(np.int64)


def _words(rows: Sequence[TextRow], tokenizer: PreTrainedTokenizerBase) -> list[list[str]]:
    """The words of each row as they stand in a text: to tokenizers of bytes, a word without the blank before it is the
    rest of another.
    """
    text, (joined, blanked) = tokenizer.tokenize("a a"), (_split(tokenizer, blank) for blank in ("", " "))
    blank = " " if joined != text and blanked == text else ""
    return [[word if at == 0 else blank + word for at, word in enumerate(words)] for words in rows]


def _split(tokenizer: PreTrainedTokenizerBase, blank: str) -> list[str]:
    found: list[str] = tokenizer(["a", blank + "a"], is_split_into_words=True, add_special_tokens=False).tokens()
    return found


def _sides(rows: Sequence[TextRow], tokenizer: PreTrainedTokenizerBase) -> list[list[str]]:
    """One text, or the two of the tokenizer's pair. Of more, all after the first are the second, with the separator
    between them, or a line end where the tokenizer has none.
    """
    between = f" {tokenizer.sep_token} " if tokenizer.sep_token else "\n"
    first, *others = zip(*rows, strict=True)
    return [list(first)] + ([list(map(between.join, zip(*others, strict=True)))] if others else [])


def _offsets(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _labels(rows: Rows, shape: LabelShape, labelled: bool, tags: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[Any]:
    return np.concatenate(tags) if shape.per_token else labels_of(rows, shape, labelled=labelled)


def labels_of(rows: Rows, shape: LabelShape, *, labelled: bool = True) -> npt.NDArray[Any]:
    """``(N,)`` or ``(N, C)``, as in ``Features``; of what is not labelled by the token."""
    if not labelled:
        size = (len(rows), shape.count) if shape.form == "classes" else (len(rows),)
        unknown = np.float32(np.nan) if shape.form in ("classes", "number") else np.int64(UNKNOWN)
        return np.full(size, unknown)
    if shape.form != "classes":
        return np.asarray(rows.labels, dtype=np.float32 if shape.form == "number" else np.int64)
    found = np.zeros((len(rows), shape.count), dtype=np.float32)
    for row, ids in enumerate(cast(Sequence[tuple[int, ...]], rows.labels)):
        found[row, list(ids)] = 1
    return found
