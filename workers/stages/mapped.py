"""What is told of a model that is larger than memory: one pass over it reads all its files, and may take an hour."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from transformers import PreTrainedModel

from api_schemas.architectures import Architecture
from workers.pruning.surgery import layers_of
from workers.runtime.parts import Done

Hook = Callable[[nn.Module, object, object], None]


def tell_layers(model: PreTrainedModel, architecture: Architecture, done: Done) -> None:
    """From now on ``done`` hears of each layer that a pass of ``model``, or of a copy of it, comes through."""
    layers = layers_of(model, architecture)
    for number, layer in enumerate(layers, 1):
        layer.register_forward_hook(_told(done, number, len(layers)))


def _told(done: Done, number: int, total: int) -> Hook:
    # A function, and no object: copies of the model share it, where of an object they would have copies.
    def tell(_module: nn.Module, _inputs: object, _output: object) -> None:
        done(number, total)

    return tell
