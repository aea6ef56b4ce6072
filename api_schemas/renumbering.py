"""What becomes of tensor names and config fields when layers go: pure renaming, for models in memory and for files.

``kept`` is one ascending list of layers a stack, each counted from 0 in its own stack of the original model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from api_schemas.architectures import Architecture, Config

KeptLayers = Sequence[Sequence[int]]

#: `transformers` 5: for each layer that differs from the others, by its number, the config's fields that do.
PER_LAYER = "per_layer_config"
_PER_LAYER_PREFIX = "per_layer_"
_NUMBER = re.compile(r"[0-9]{1,6}")


def split_layers(layers: Sequence[int], sizes: Sequence[int]) -> list[list[int]]:
    """Layers that are numbered through all stacks, as a list for each stack, numbered from 0 in it."""
    ends = list(accumulate(sizes))
    return [
        [layer - end + size for layer in layers if end - size <= layer < end]
        for end, size in zip(ends, sizes, strict=True)
    ]


def layer_overrides(config: Config) -> dict[str, list[tuple[int, Any]]]:
    """The fields of ``config`` that are objects by layers' numbers, as pairs of layer and value: ``per_layer_config``,
    and what is made like it. A number may be text, as JSON has it.
    """
    return {
        name: [(int(key), each) for key, each in value.items()]
        for name, value in config.items()
        if name.startswith(_PER_LAYER_PREFIX) and isinstance(value, Mapping) and value
        if all(_NUMBER.fullmatch(str(key)) for key in value)
    }


def new_key(row: Architecture, key: str, kept: KeptLayers) -> str | None:
    """The tensor's name in the model that is left; None for a tensor of a layer that goes."""
    place = row.place(key)
    if place is None or row.shared_layers:
        return key
    if row.is_carried(key, place):
        return key
    left = kept[place.stack]
    if place.layer not in left:
        return None
    return f"{key[: place.start]}{left.index(place.layer)}{key[place.end :]}"


def new_fields(row: Architecture, config: Config, kept: KeptLayers) -> dict[str, Any]:
    """The config fields that change, with their new values; ``config`` was checked, and may be that of a file.

    Every other field stays. What follows from a layer's number and is not written down in ``config`` is from now on.
    """
    total, left = row.sizes(config)[0], kept[0]
    fields: dict[str, Any] = {stack.count_field: len(layers) for stack, layers in zip(row.stacks, kept, strict=True)}
    fields |= {stack.cache_field: fields[stack.count_field] for stack in row.stacks if stack.cache_field}
    if "num_hidden_layers" in config:  # some files have it beside the family's own name, and it would win
        fields["num_hidden_layers"] = len(left)
    for name in row.per_layer_fields:
        values = config.get(name)
        if values is None and name == "layer_types" and row.implied_types is not None:
            values = row.implied_types(config, total)
        if values is not None:
            fields[name] = [values[layer] for layer in left]
    for name in row.number_fields:
        if isinstance(config.get(name), int):
            fields[name] = sum(layer < config[name] for layer in left)
    for name, overrides in layer_overrides(config).items():
        # None and not {}: an empty one has stock configs believe that their layers differ.
        fields[name] = {str(left.index(layer)): value for layer, value in overrides if layer in left} or None
    return fields
