"""Takes layers out of a model in memory, so that what is left is a stock model with fewer layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedModel

from api_schemas.architectures import Architecture


def layers_of(model: PreTrainedModel, architecture: Architecture) -> nn.ModuleList:
    """The list of layers, wherever the model's class keeps it. For shared layers: the one set of weights."""
    layers = model.base_model.get_submodule(architecture.layers)
    if not isinstance(layers, nn.ModuleList):
        raise TypeError(f"{architecture.layers} of {type(model).__name__} is no list of layers")
    return layers


def layer_count(model: PreTrainedModel, architecture: Architecture) -> int:
    """How many layers a text goes through."""
    return int(getattr(model.config, architecture.count_field))


def drop_layers(model: PreTrainedModel, architecture: Architecture, kept: Sequence[int]) -> None:
    """Keep the layers ``kept`` (ascending, from 0) and no others, in place; the config says so afterwards.

    Raises ``ValueError`` for indexes that are not an ascending choice of the model's layers.
    """
    total = layer_count(model, architecture)
    if not kept or list(kept) != sorted(set(kept)) or not 0 <= kept[0] <= kept[-1] < total:
        raise ValueError(f"kept layers must ascend within 0 to {total - 1}, not {list(kept)}")
    if not architecture.shared_layers:
        _cut_modules(model, architecture, kept)
    _cut_config(model, architecture, kept, total)


def _cut_modules(model: PreTrainedModel, architecture: Architecture, kept: Sequence[int]) -> None:
    layers = layers_of(model, architecture)
    left = [layers[index] for index in kept]
    del layers[:]
    layers.extend(left)
    for index, layer in enumerate(left):
        for module in layer.modules():
            # Attention looks its key-value cache up by its own number.
            if hasattr(module, "layer_idx"):
                module.layer_idx = index


def _cut_config(model: PreTrainedModel, architecture: Architecture, kept: Sequence[int], total: int) -> None:
    config = model.config
    setattr(config, architecture.count_field, len(kept))
    for field in architecture.per_layer_fields:
        values = getattr(config, field, None)
        if values is not None:
            setattr(config, field, [values[index] for index in kept])
    # Some classes keep the count beside the list (XLNetModel.n_layer, distilbert's Transformer.n_layers).
    for module in model.modules():
        if vars(module).get(architecture.count_field) == total:
            setattr(module, architecture.count_field, len(kept))
