"""Dropout whose mask costs a quarter: torch draws one 64-bit number an element on a CPU, this takes four from each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class QuickDropout(nn.Dropout):
    """As ``nn.Dropout``, with ``p`` rounded to 1/65536; drawn from torch's generator, so seeds still hold."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return input
        draws = torch.randint(-(2**63), 2**63 - 1, (-(-input.numel() // 4),))
        bits = draws.view(torch.int16)[: input.numel()].view(input.shape)
        kept = bits >= round(self.p * 65536) - 32768
        return input * kept.to(input.dtype).mul_(1 / (1 - self.p))


@contextmanager
def quick_dropout(model: nn.Module, device: torch.device) -> Iterator[None]:
    """On a CPU, the model's dropouts are quick ones inside; a GPU draws its masks fast enough."""
    modules = [module for module in model.modules() if type(module) is nn.Dropout] if device.type == "cpu" else []
    for module in modules:
        module.__class__ = QuickDropout
    try:
        yield
    finally:
        for module in modules:
            module.__class__ = nn.Dropout
