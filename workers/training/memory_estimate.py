"""How many rows of a training fit into what is free of a GPU's memory, told before its first step.

What is counted, `api_schemas/training_memory.py` has; `tests/workers/training/test_memory_estimate.py` counts it again
as autograd does, and `tests/gpu` asks a device.
"""

from __future__ import annotations

from transformers import PreTrainedModel

from api_schemas.errors import LayercutError
from api_schemas.recovery import Precision
from api_schemas.training_memory import TrainingSize, training_memory


def size_of(model: PreTrainedModel, length: int, precision: Precision) -> TrainingSize:
    """``length`` is the longest batch's, in tokens."""
    config = model.config.get_text_config()
    width = config.hidden_size
    return TrainingSize(
        parameters=sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
        layers=config.num_hidden_layers,
        width=width,
        inner=getattr(config, "intermediate_size", 4 * width),
        heads=config.num_attention_heads if model.config._attn_implementation == "eager" else 0,
        length=length,
        precision=precision,
    )


def rows_that_fit(size: TrainingSize, rows: int, free: int) -> int:
    """At most ``rows``, halved until they fit into ``free`` bytes; raises ``out_of_memory`` where not one does."""
    while (need := training_memory(size, rows)).to_come > free:
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
