"""Takes layers out of a model in memory, so that what is left is a stock model with fewer layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from api_schemas.architectures import Architecture
from api_schemas.renumbering import new_fields, split_layers


def stacks_of(model: PreTrainedModel, architecture: Architecture) -> list[nn.ModuleList]:
    """The lists of layers, wherever the model's class keeps them. For shared layers: the one set of weights."""
    found = [model.base_model.get_submodule(stack.layers) for stack in architecture.stacks]
    for stack, layers in zip(architecture.stacks, found, strict=True):
        if not isinstance(layers, nn.ModuleList):
            raise TypeError(f"{stack.layers} of {type(model).__name__} is no list of layers")
    return found  # type: ignore[return-value]


def layers_of(model: PreTrainedModel, architecture: Architecture) -> nn.ModuleList:
    """All layers in one list, the encoder's first where there are two stacks."""
    stacks = stacks_of(model, architecture)
    return stacks[0] if len(stacks) == 1 else nn.ModuleList([layer for stack in stacks for layer in stack])


def stack_sizes(model: PreTrainedModel, architecture: Architecture) -> tuple[int, ...]:
    """How many layers a text goes through in each stack."""
    return architecture.sizes(model.config.to_dict())


def layer_count(model: PreTrainedModel, architecture: Architecture) -> int:
    """How many layers a text goes through, in all stacks together."""
    return sum(stack_sizes(model, architecture))


def drop_layers(model: PreTrainedModel, architecture: Architecture, kept: Sequence[int]) -> None:
    """Keep the layers ``kept`` (ascending, from 0, numbered through the stacks) and no others, in place; the config
    says so afterwards.

    Raises ``ValueError`` for indexes that are not an ascending choice of the model's layers, some of each stack.
    """
    sizes = stack_sizes(model, architecture)
    left = split_layers(kept, sizes)
    if not all(left) or list(kept) != sorted(set(kept)) or not 0 <= kept[0] <= kept[-1] < sum(sizes):
        raise ValueError(f"kept layers must ascend within 0 to {sum(sizes) - 1}, some of each stack, not {list(kept)}")
    if not architecture.shared_layers:
        for layers, indexes in zip(stacks_of(model, architecture), left, strict=True):
            _cut_modules(layers, architecture, indexes)
    _cut_config(model, architecture, left, sizes[0])


def _cut_modules(layers: nn.ModuleList, architecture: Architecture, kept: Sequence[int]) -> None:
    first, left = layers[0], [layers[index] for index in kept]
    if left[0] is not first:
        for path in architecture.carried:
            _carry(path, first, left[0])
    del layers[:]
    layers.extend(left)
    for index, layer in enumerate(left):
        for module in layer.modules():
            # Attention looks its key-value cache up by its own number.
            if hasattr(module, "layer_idx"):
                module.layer_idx = index  # type: ignore[assignment]  # to torch, a module has no attributes but these


def _carry(path: str, first: nn.Module, new: nn.Module) -> None:
    """Give ``new`` what ``first`` has for the whole stack. T5's attention has a flag that says so."""
    parent, _, name = path.rpartition(".")
    owner = new.get_submodule(parent)
    setattr(owner, name, first.get_submodule(path))
    setattr(owner, f"has_{name}", True)


def _cut_config(model: PreTrainedModel, architecture: Architecture, kept: list[list[int]], total: int) -> None:
    fields = new_fields(architecture, model.config.to_dict(), kept)
    for config in _configs(model):
        for name, value in fields.items():
            setattr(config, name, value)
    # T5's stacks have configs of their own, in which each goes by the encoder's count.
    for stack, layers in zip(architecture.stacks, kept, strict=True):
        owner = model.base_model.get_submodule(stack.layers.rpartition(".")[0])
        config = getattr(owner, "config", model.config)
        if config is not model.config:
            setattr(config, architecture.count_field, len(layers))
    # Some classes keep the count beside the list (XLNetModel.n_layer, distilbert's Transformer.n_layers).
    for module in model.modules():
        if vars(module).get(architecture.count_field) == total:
            setattr(module, architecture.count_field, len(kept[0]))


def _configs(model: PreTrainedModel) -> list[PreTrainedConfig]:
    """Every config object that a module of the model holds, once."""
    found = (getattr(module, "config", None) for module in model.modules())
    return list({id(config): config for config in found if isinstance(config, PreTrainedConfig)}.values())
