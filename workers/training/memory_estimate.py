"""What a training takes of a GPU's memory, told before its first step.

Weights, gradients and AdamW's moments are counted. Activations are a sum over layers as in Korthikanti et al. 2022
(arXiv 2205.05198, §4), its factors taken from what autograd keeps of a BERT with float32 norms and residuals, as
autocast has them: `tests/workers/training/test_memory_estimate.py` counts that again, and `tests/gpu` asks a device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from transformers import PreTrainedModel

from api_schemas.errors import LayercutError
from api_schemas.recovery import Precision

FLOAT = 4


class Saved(NamedTuple):
    """Bytes that autograd keeps of each layer and token: a unit of the width, of the inner width, and of each head's
    row of attention weights.
    """

    width: int
    inner: int
    attention: int


SAVED: dict[Precision, Saved] = {"fp32": Saved(40, 8, 12), "bf16": Saved(30, 4, 6), "fp16": Saved(30, 4, 6)}
#: As many layers again: the embeddings' share, and the gradients that are on their way back.
EXTRA_LAYERS = 2


@dataclass(frozen=True)
class Size:
    """Of a training. ``parameters`` are those that are trained; ``length`` is the longest batch's, in tokens.

    ``heads`` is 0 where the attention's weights are never written to memory.
    """

    parameters: int
    layers: int
    width: int
    inner: int
    heads: int
    length: int
    precision: Precision

    @classmethod
    def of(cls, model: PreTrainedModel, length: int, precision: Precision) -> Size:
        config = model.config.get_text_config()
        width = config.hidden_size
        return cls(
            parameters=sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
            layers=config.num_hidden_layers,
            width=width,
            inner=getattr(config, "intermediate_size", 4 * width),
            heads=config.num_attention_heads if model.config._attn_implementation == "eager" else 0,
            length=length,
            precision=precision,
        )


@dataclass(frozen=True)
class Memory:
    """Bytes. ``weights`` are on the device before the training begins; the rest is yet to come."""

    weights: int
    gradients: int
    moments: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.to_come

    @property
    def to_come(self) -> int:
        return self.gradients + self.moments + self.activations


def estimate(size: Size, rows: int) -> Memory:
    """Of batches of ``rows`` rows."""
    saved = SAVED[size.precision]
    token = size.width * saved.width + size.inner * saved.inner + size.heads * size.length * saved.attention
    # Autocast keeps the matrices in 16 bits too for as long as a step takes.
    casts = 0 if size.precision == "fp32" else size.parameters * 2
    weights = size.parameters * FLOAT
    return Memory(
        weights=weights,
        gradients=weights,
        moments=2 * weights,
        activations=rows * size.length * (size.layers + EXTRA_LAYERS) * token + casts,
    )


def rows_that_fit(size: Size, rows: int, free: int) -> int:
    """At most ``rows``, halved until they fit into ``free`` bytes; raises ``out_of_memory`` where not one does."""
    while (need := estimate(size, rows)).to_come > free:
        if rows == 1:
            raise LayercutError(
                "out_of_memory",
                f"training takes about {_gb(need.to_come)} beside the weights, even one row at a time (gradients"
                f" {_gb(need.gradients)}, optimizer {_gb(need.moments)}, {size.length} tokens {_gb(need.activations)}),"
                f" and {_gb(free)} of the device's memory are free: take a larger GPU, a smaller model or a lower"
                " recovery.max_length",
                param="/recovery/max_length",
            )
        rows //= 2
    return rows


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
