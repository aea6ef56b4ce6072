"""Trains only the word embeddings that the data has. The others would not move; carrying them costs a third of a step.

A row whose token never occurs gets no gradient, so AdamW only shrinks it by the weight decay: that is done once, at
the end, and the result is the same as with the whole table.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from workers.data.features import Features


class CompactEmbedding(nn.Module):
    """Some rows ``(U, H)`` of an embedding table, with one gradient buffer that lives as long as the training.

    Only the rows that a step touched are cleared after it: a fresh dense gradient each step would cost more in
    page faults than the whole backward pass of a small model. ``decay`` is what weight decay has left of the rows
    that are not here.
    """

    def __init__(self, rows: Tensor, padding_idx: int | None, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(rows)
        self.weight.grad = torch.zeros_like(rows)
        self.padding_idx = padding_idx
        self.decay = 1.0
        self._touched: list[Tensor] = []

    def forward(self, ids: Tensor) -> Tensor:
        """``(B, L)`` ids to ``(B, L, H)``."""
        self._touched.append(ids.flatten())
        found: Tensor = _Lookup.apply(self.weight, ids, self)
        return found if self.scale == 1.0 else found * self.scale

    def accumulate(self, ids: Tensor, gradient: Tensor) -> None:
        assert self.weight.grad is not None
        self.weight.grad.index_add_(0, ids.flatten(), gradient.flatten(0, -2).to(self.weight.dtype))
        if self.padding_idx is not None:
            self.weight.grad[self.padding_idx] = 0

    def clear(self) -> None:
        """Forget the step's gradient."""
        assert self.weight.grad is not None
        for ids in self._touched:
            self.weight.grad[ids] = 0
        self._touched.clear()


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, embedding: CompactEmbedding) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.embedding = embedding
        return nn.functional.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, None]:
        (ids,) = ctx.saved_tensors
        ctx.embedding.accumulate(ids, gradients[0])
        return None, None, None


class Compact(NamedTuple):
    """The same rows in new numbers, and the table that they index."""

    features: Features
    embedding: CompactEmbedding


@contextmanager
def compact_vocabulary(model: PreTrainedModel, features: Features) -> Iterator[Compact]:
    """Inside, the model reads the numbers of ``Compact.features``; afterwards its own ids again, as learnt."""
    table = model.get_input_embeddings()
    assert isinstance(table, nn.Embedding)
    used = used_tokens(features, len(table.weight))
    index = torch.from_numpy(used).to(table.weight.device)
    # Gemma 3 scales what it looks up.
    scale = float(getattr(table, "scalar_embed_scale", 1.0))
    compact = CompactEmbedding(table.weight.detach()[index].clone(), table.padding_idx, scale)
    renumber = np.zeros(len(table.weight), dtype=np.int32)
    renumber[used] = np.arange(len(used))
    model.set_input_embeddings(compact)
    try:
        yield Compact(replace(features, ids=renumber[features.ids]), compact)
    finally:
        with torch.no_grad():
            table.weight *= compact.decay
            table.weight[index] = compact.weight
        model.set_input_embeddings(table)


def used_tokens(features: Features, vocabulary: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Ids that occur, so placed that padding keeps its number: RoBERTa's positions are counted from it."""
    pad = features.padding.token
    found = np.setdiff1d(features.ids, [pad])
    spare = np.setdiff1d(np.arange(min(vocabulary, pad + len(found) + 1)), np.append(found, pad))
    before = np.concatenate([found, spare])[: max(pad, len(found))]
    return np.concatenate([before[:pad], [pad], before[pad:]]).astype(np.int64)
