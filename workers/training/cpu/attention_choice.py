"""Which attention a training runs on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from transformers import PreTrainedModel


@contextmanager
def quick_attention(model: PreTrainedModel) -> Iterator[None]:
    """Inside, plain matrix products: the backward pass of torch's fused attention is several times slower on a CPU."""
    before = model.config._attn_implementation
    if before == "sdpa":
        model.set_attn_implementation("eager")
    try:
        yield
    finally:
        if model.config._attn_implementation != before:
            model.set_attn_implementation(before)
