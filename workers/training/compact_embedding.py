"""Trains only the word embeddings that the data has. The others would not move; carrying them costs a third of a step.

A row whose token never occurs gets no gradient, so AdamW only shrinks it by the weight decay: that is done once, at
the end, and the result is the same as with the whole table.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from workers.data.features import Features


class CompactEmbedding(nn.Module):
    """Some rows ``(U, H)`` of an embedding table, with one gradient buffer that lives as long as the training.

    ``places`` ``(V,)`` says which row is whose; what is looked up is multiplied by ``scale``. Only the rows that a step
    touched are cleared after it: a fresh dense gradient each step would cost more in page faults than the whole
    backward pass of a small model. ``decay`` is what weight decay has left of the rows that are not here. Not
    ``trained``, the rows stand still and have no gradient.
    """

    def __init__(self, rows: Tensor, places: Tensor, padding_idx: int | None, scale: float, *, trained: bool) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(rows, requires_grad=trained)
        self.weight.grad = torch.zeros_like(rows) if trained else None
        self.padding_idx = padding_idx
        self.decay = 1.0
        self._places = places
        self._touched: list[Tensor] = []

    def forward(self, ids: Tensor) -> Tensor:
        """``(B, L)`` ids of the whole table to ``(B, L, H)``."""
        places = self._places[ids]
        if torch.is_grad_enabled() and self.weight.requires_grad:
            self._touched.append(places.flatten())
        found: Tensor = _Lookup.apply(self.weight, places, self)  # type: ignore[no-untyped-call]
        return found if self.scale == 1 else found * self.scale

    def accumulate(self, places: Tensor, gradient: Tensor) -> None:
        assert self.weight.grad is not None
        self.weight.grad.index_add_(0, places.flatten(), gradient.flatten(0, -2).to(self.weight.dtype))
        if self.padding_idx is not None:
            self.weight.grad[self._places[self.padding_idx]] = 0

    def clear(self) -> None:
        """Forget the step's gradient."""
        for places in self._touched:
            assert self.weight.grad is not None
            self.weight.grad[places] = 0
        self._touched.clear()


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, places: Tensor, embedding: CompactEmbedding) -> Tensor:
        ctx.save_for_backward(places)
        ctx.embedding = embedding
        return nn.functional.embedding(places, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, None]:
        (places,) = ctx.saved_tensors
        ctx.embedding.accumulate(places, gradients[0])
        return None, None, None


class WholeEmbedding:
    """The model's own table, with the face of a ``CompactEmbedding``. The optimizer decays its rows, all of them."""

    def __init__(self, table: nn.Embedding) -> None:
        self.weight = table.weight
        self.decay = 1.0

    def clear(self) -> None:
        self.weight.grad = None


def vocabulary(
    model: PreTrainedModel, *features: Features, trained: bool, whole: bool
) -> AbstractContextManager[CompactEmbedding | WholeEmbedding]:
    """Inside, word embeddings to train on ``features``, or to stand still: the ``whole`` table, or a compact one."""
    if whole:
        return whole_vocabulary(model, trained=trained)
    return compact_vocabulary(model, *features, trained=trained)


@contextmanager
def whole_vocabulary(model: PreTrainedModel, *, trained: bool) -> Iterator[WholeEmbedding]:
    """Inside, the model's own table has a gradient where it is ``trained``."""
    table = _table_of(model)
    wanted = table.weight.requires_grad
    table.weight.requires_grad_(wanted and trained)
    try:
        yield WholeEmbedding(table)
    finally:
        table.weight.requires_grad_(wanted)


def _table_of(model: PreTrainedModel) -> nn.Embedding:
    table = model.get_input_embeddings()
    assert isinstance(table, nn.Embedding)
    return table


@contextmanager
def compact_vocabulary(model: PreTrainedModel, *features: Features, trained: bool) -> Iterator[CompactEmbedding]:
    """Inside, the model has embeddings of the tokens of ``features`` and of padding alone; then all, as learnt.

    Where they are not ``trained``, they are after it what they were before.
    """
    table = _table_of(model)
    padding = [features[0].padding.token, *([] if table.padding_idx is None else [table.padding_idx])]
    used = torch.from_numpy(np.unique(np.concatenate([padding, *(part.ids for part in features)])))
    used = used.to(table.weight.device)
    places = torch.zeros(len(table.weight), dtype=torch.int64, device=used.device)
    places[used] = torch.arange(len(used), device=used.device)
    # Gemma 3 scales what it looks up.
    scale = float(getattr(table, "scalar_embed_scale", 1.0))
    rows = table.weight.detach()[used].clone()
    compact = CompactEmbedding(rows, places, table.padding_idx, scale, trained=trained)
    model.set_input_embeddings(compact)
    try:
        yield compact
    finally:
        if trained:
            with torch.no_grad():
                if compact.decay != 1:  # a table that was read from a file is not in memory until it is written to
                    table.weight *= compact.decay
                table.weight[used] = compact.weight
        model.set_input_embeddings(table)
