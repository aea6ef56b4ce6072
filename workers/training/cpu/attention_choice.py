"""Which attention a training runs on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel


@contextmanager
def quick_attention(model: PreTrainedModel, device: torch.device) -> Iterator[None]:
    """On a CPU, plain matrix products: the backward pass of torch's fused attention is several times slower there."""
    before = model.config._attn_implementation
    if device.type == "cpu" and before == "sdpa":
        model.set_attn_implementation("eager")
    try:
        yield
    finally:
        if model.config._attn_implementation != before:
            model.set_attn_implementation(before)
