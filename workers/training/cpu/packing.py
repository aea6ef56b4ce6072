"""Where the tokens of a padded batch go when the padding is left out, and where they come back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

#: Softmax over rows that are no multiple of this is many times slower where rows are short.
SHORT = 16

#: Sizes that are told apart between a power of two and the next. For each size that it meets for the first time, oneDNN
#: writes code and keeps some 7 MB of a layer's products: that costs more than these paddings, 2 % on average.
SIZES = 16


def size_of(count: int) -> int:
    """The next of the few sizes that is at least ``count``."""
    step = max(1, (1 << (count - 1).bit_length()) // (2 * SIZES))
    return -(-count // step) * step


class _Take(torch.autograd.Function):
    """Rows of a matrix by index. The way back is an index as well, which is faster than adding up."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, there: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return matrix.index_select(0, there)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (back,) = ctx.saved_tensors
        return gradients[0].contiguous().index_select(0, back), None, None


@dataclass(frozen=True)
class Packing:
    """Of a batch of ``B`` rows, cut to its longest row's ``L`` tokens: ``mask`` bool ``(B, L)`` says which are real.

    Packed, a batch is ``(P, …)``: its real tokens in order, and at least one more that stands for all the padding, so
    many that ``P`` is one of few sizes. Nobody attends to those and no output depends on them, so their gradient is
    zero, and whoever reads a gradient in the place of one reads the right one. Where nothing is padded there are none.
    In attention, tokens lie in a grid of ``B`` rows of ``width`` places.
    """

    mask: Tensor
    width: int

    @classmethod
    def of(cls, mask: Tensor) -> Packing:
        """``mask`` ``(B, at least L)`` is of tokens that come first in their rows."""
        longest = int(mask.sum(1).max())
        return cls(mask[:, :longest].bool(), max(SHORT, longest))

    @property
    def batch(self) -> int:
        return len(self.mask)

    @cached_property
    def full(self) -> bool:
        """No place of the grid is padding."""
        return self.mask.shape[1] == self.width and bool(self.mask.all())

    @cached_property
    def _real(self) -> int:
        """How many tokens are real: the number of the first one of padding."""
        return int(self.mask.sum())

    @cached_property
    def _padded(self) -> Tensor:
        """Index into the padded batch of each packed token; any will do for those of padding."""
        real = self.mask.flatten().nonzero().squeeze(1)
        return real if self.full else F.pad(real, (0, size_of(self._real + 1) - self._real))

    @cached_property
    def _packed(self) -> Tensor:
        """Index of the packed token at each place of the padded batch, ``(B, L)``."""
        number = self.mask.flatten().cumsum(0).sub_(1).view_as(self.mask)
        return number.masked_fill_(~self.mask, self._real)

    @cached_property
    def _grid(self) -> Tensor:
        """The same for each place of the grid, ``(B, width)``."""
        return F.pad(self._packed, (0, self.width - self.mask.shape[1]), value=self._real)

    @cached_property
    def _places(self) -> Tensor:
        """Place in the grid of each packed token; a place of padding for those of padding."""
        places = torch.zeros(len(self._padded), dtype=torch.int64)
        places.index_copy_(0, self._grid.flatten(), torch.arange(self._grid.numel()))
        places[self._real + 1 :] = places[self._real : self._real + 1]
        return places

    def pack(self, states: Tensor) -> Tensor:
        """``(B, at least L, H)`` to ``(P, H)``."""
        cut = states[:, : self.mask.shape[1]].reshape(-1, states.shape[2])
        packed: Tensor = _Take.apply(cut, self._padded, self._packed.flatten())  # type: ignore[no-untyped-call]
        return packed

    def unpack(self, states: Tensor, length: int) -> Tensor:
        """``(P, H)`` to ``(B, length, H)``, with zeros for padding, whose gradient goes nowhere."""
        grid = states.new_zeros(self.mask.numel(), states.shape[1])
        grid = grid.index_copy(0, self._padded[: self._real], states[: self._real])
        return F.pad(grid.view(*self.mask.shape, -1), (0, 0, 0, length - self.mask.shape[1]))

    @cached_property
    def first(self) -> Tensor:
        """Index of each row's first token among the packed, ``(B,)``."""
        return self._packed[:, 0]

    def to_heads(self, states: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
        """``(P, parts * H)``, of queries, keys, values, to as many ``(B * heads, width, H / heads)``."""
        index = self._indexes(parts, heads)
        rows: Tensor = _Take.apply(states.view(-1, states.shape[1] // (parts * heads)), *index)  # type: ignore[no-untyped-call]
        return rows.view(parts, self.batch * heads, self.width, -1).unbind(0)

    def from_heads(self, states: Tensor, heads: int) -> Tensor:
        """``(B * heads, width, H / heads)`` to ``(P, H)``."""
        there, back = self._indexes(1, heads)
        rows: Tensor = _Take.apply(states.flatten(0, 1), back, there)  # type: ignore[no-untyped-call]
        return rows.view(len(self._padded), -1)

    def _indexes(self, parts: int, heads: int) -> tuple[Tensor, Tensor]:
        """Between ``(P, parts, heads)`` and ``(parts, B, heads, width)``: to take there, and back."""
        key = (parts, heads)
        if key not in self._known:
            part, head = torch.arange(parts), torch.arange(heads)
            there = (self._grid.view(1, self.batch, 1, self.width) * parts + part.view(-1, 1, 1, 1)) * heads
            row, column = self._places // self.width, self._places % self.width
            back = ((part.view(-1, 1) * self.batch + row.view(-1, 1, 1)) * heads + head) * self.width
            self._known[key] = (there + head.view(-1, 1)).flatten(), (back + column.view(-1, 1, 1)).flatten()
        return self._known[key]

    @cached_property
    def _known(self) -> dict[tuple[int, int], tuple[Tensor, Tensor]]:
        return {}

    def bias(self, heads: int, dtype: torch.dtype) -> Tensor | None:
        """To add to the scores ``(B * heads, width, width)``: none to a real key, and as good as -inf to padding.

        Spread out once a batch: adding it row by row is slow on a CPU.
        """
        if self.full:
            return None
        row = torch.zeros(self.batch, 1, 1, self.width, dtype=dtype)
        row.masked_fill_((self._grid == self._real).view_as(row), torch.finfo(dtype).min)
        return row.expand(-1, heads, self.width, -1).reshape(self.batch * heads, self.width, self.width)


def real_tokens(states: Tensor, mask: Tensor) -> Tensor:
    """``(T, H)``, the states of the ``T`` tokens of ``mask`` ``(B, L)``, from ``(B, L, H)`` or packed."""
    mask = mask.bool()
    return states[mask] if states.ndim == mask.ndim + 1 else states[: int(mask.sum())]
