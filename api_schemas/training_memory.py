"""What a training takes of memory, by a model's sizes: weights, gradients, AdamW's moments, and activations.

Activations are a sum over layers as in Korthikanti et al. 2022 (arXiv 2205.05198, §4), its factors taken from what
autograd keeps of a BERT with float32 norms and residuals, as autocast has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

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
class TrainingSize:
    """``parameters`` are those that are trained; ``length`` is the longest batch's, in tokens.

    ``heads`` is 0 where the attention's weights are never written to memory.
    """

    parameters: int
    layers: int
    width: int
    inner: int
    heads: int
    length: int
    precision: Precision


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


def training_memory(size: TrainingSize, rows: int) -> Memory:
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
