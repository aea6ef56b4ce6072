"""Dropout whose masks cost a tenth: torch draws one number an element on a CPU, this takes four from each draw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod

import numpy as np
import torch
from torch import Tensor, nn


def dropout_mask(shape: Sequence[int], p: float, dtype: torch.dtype) -> Tensor:
    """What to multiply with: 0 with a probability of about ``p``, else ``s``; the mean is 1.

    ``s`` is ``1 / (1 - p)`` as ``dtype`` can say it, and the probability follows from ``s``, to 1/65536: bfloat16 has
    1.109 in place of 1.111, so there it is 0.0986 in place of 0.1, and no activation grows or shrinks on average.
    Torch's generator seeds each mask, so its state is all there is to keep.
    """
    scale = torch.tensor(1 / (1 - p)).to(dtype).item()
    count = prod(shape)
    # A counter-free generator with 64 bits a draw, several times faster than torch's Mersenne twister.
    source = np.random.SFC64(int(torch.randint(2**63 - 1, ())))
    bits = torch.from_numpy(source.random_raw(-(-count // 4)).view(np.int16)[:count]).view(*shape)
    mask = torch.empty(*shape, dtype=dtype)
    return torch.ge(bits, 32768 - round(65536 / scale), out=mask).mul_(scale)


class QuickDropout(nn.Dropout):
    """As ``nn.Dropout``, with a mask of ``dropout_mask``."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return input
        return input * dropout_mask(input.shape, self.p, input.dtype)


@contextmanager
def quick_dropout(model: nn.Module) -> Iterator[None]:
    """Inside, the model's dropouts are quick ones. A GPU draws its masks fast enough."""
    modules = [module for module in model.modules() if type(module) is nn.Dropout]
    for module in modules:
        module.__class__ = QuickDropout
    try:
        yield
    finally:
        for module in modules:
            module.__class__ = nn.Dropout
