"""Weights in the dtype of the matrix products, and their gradients on the way back."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Product(NamedTuple):
    """Layers that are computed as one matrix product; what the first of them gives is multiplied by ``scale``."""

    scale: float
    layers: tuple[nn.Linear, ...]


Linear = tuple[Tensor, Tensor]


class CastWeights:
    """(weight, bias) of each product, cast anew each time it is called.

    The memory that they are cast into stays, and so does that of the gradients: to get it anew for each step costs
    more than to fill it. So a call is good until the next, and gradients are put into ``grad`` of the weights, not
    given on: hooks on them see nothing.
    """

    def __init__(self, products: list[Product], dtype: torch.dtype) -> None:
        self._weights = _Buffers([[layer.weight for layer in one.layers] for one in products], products, dtype)
        self._biases = _Buffers([[layer.bias for layer in one.layers] for one in products], products, dtype)

    def __call__(self) -> list[Linear]:
        return list(zip(self._weights(), self._biases(), strict=True))


class _Buffers:
    """Memory for what ``groups`` of weights become, each group below one another, and for their gradients."""

    def __init__(self, groups: list[list[Tensor]], products: list[Product], dtype: torch.dtype) -> None:
        self._groups, self._scales = groups, [product.scale for product in products]
        self._cast = [
            group[0].new_empty(sum(map(len, group)), *group[0].shape[1:], dtype=dtype, requires_grad=False)
            for group in groups
        ]
        self._gradients: dict[Tensor, Tensor] = {}

    def __call__(self) -> tuple[Tensor, ...]:
        # One node of the graph for all: a hundred small ones cost more than the casts.
        found: tuple[Tensor, ...] = _Cast.apply(  # type: ignore[no-untyped-call]
            self, *itertools.chain(*self._groups)
        )
        return found

    def fill(self) -> tuple[Tensor, ...]:
        for together, group, scale in zip(self._cast, self._groups, self._scales, strict=True):
            first, *others = _split(together, group)
            first.copy_(group[0] if scale == 1 else group[0] * scale)
            for place, part in zip(others, group[1:], strict=True):
                place.copy_(part)
        return tuple(together.detach() for together in self._cast)

    def accumulate(self, gradients: tuple[Tensor, ...]) -> None:
        for gradient, group, scale in zip(gradients, self._groups, self._scales, strict=True):
            for at, (part, place) in enumerate(zip(group, _split(gradient, group), strict=True)):
                if part.requires_grad:
                    self._add(part, place, 1.0 if at else scale)

    def _add(self, part: Tensor, gradient: Tensor, scale: float) -> None:
        if part.grad is not None:
            part.grad.add_(gradient, alpha=scale)
            return
        if part not in self._gradients:
            self._gradients[part] = torch.empty_like(part, requires_grad=False)
        part.grad = self._gradients[part].copy_(gradient)
        if scale != 1:
            part.grad.mul_(scale)


class _Cast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, buffers: _Buffers, *parts: Tensor) -> tuple[Tensor, ...]:
        ctx.buffers, ctx.count = buffers, len(parts)
        return buffers.fill()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, ...]:
        ctx.buffers.accumulate(gradients)
        nothing: tuple[None, ...] = (None,) * (1 + ctx.count)
        return nothing


def _split(together: Tensor, group: list[Tensor]) -> tuple[Tensor, ...]:
    parts: tuple[Tensor, ...] = together.split([len(part) for part in group])
    return parts
