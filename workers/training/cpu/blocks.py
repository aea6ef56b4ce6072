"""The parts of a transformer layer, under one set of names, for the families whose layers are built alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel


@dataclass(frozen=True)
class Block:
    """A layer that attends, adds and norms; then widens, narrows, adds and norms (Vaswani et al. 2017, §3.1).

    ``dropouts`` are of the attention's weights, of what it gives, and of what the narrowing gives: 0 where the layer
    is in evaluation mode.
    """

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    mix: nn.Linear
    mixed_norm: nn.LayerNorm
    widen: nn.Linear
    activation: Callable[[Tensor], Tensor]
    narrow: nn.Linear
    norm: nn.LayerNorm
    heads: int
    dropouts: tuple[float, float, float]


def _rate(dropout: nn.Dropout) -> float:
    return dropout.p if dropout.training else 0.0


def _bert(layer: Any) -> Block:
    attention, after = layer.attention.self, layer.attention.output
    return Block(
        query=attention.query, key=attention.key, value=attention.value,
        mix=after.dense, mixed_norm=after.LayerNorm,
        widen=layer.intermediate.dense, activation=layer.intermediate.intermediate_act_fn,
        narrow=layer.output.dense, norm=layer.output.LayerNorm,
        heads=attention.num_attention_heads,
        dropouts=(_rate(attention.dropout), _rate(after.dropout), _rate(layer.output.dropout)),
    )  # fmt: skip


def _distilbert(layer: Any) -> Block:
    attention, wide = layer.attention, layer.ffn
    return Block(
        query=attention.q_lin, key=attention.k_lin, value=attention.v_lin,
        mix=attention.out_lin, mixed_norm=layer.sa_layer_norm,
        widen=wide.lin1, activation=wide.activation, narrow=wide.lin2, norm=layer.output_layer_norm,
        heads=attention.n_heads, dropouts=(_rate(attention.dropout), 0.0, _rate(wide.dropout)),
    )  # fmt: skip


#: By ``config.model_type``: the path of the encoder inside the base model, and how to read one of its layers. Families
#: that are not here bias their attention by position, or share layers, and train the plain way.
BLOCKS: dict[str, tuple[str, Callable[[Any], Block]]] = {
    "bert": ("encoder", _bert),
    "roberta": ("encoder", _bert),
    "camembert": ("encoder", _bert),
    "xlm-roberta": ("encoder", _bert),
    "electra": ("encoder", _bert),
    "distilbert": ("transformer", _distilbert),
}


def encoder_of(model: PreTrainedModel) -> nn.Module:
    """The stack of layers of a model of one of ``BLOCKS``; it holds them as ``layer``."""
    return model.base_model.get_submodule(BLOCKS[model.config.model_type][0])
