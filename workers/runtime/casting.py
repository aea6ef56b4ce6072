"""A model's weights in another type."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel


def cast_weights(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """``model`` itself with all that is saved of it in ``dtype``, as a stock class holds it that is loaded so.

    What follows from the config, such as the frequencies of a rope, stays as it is: rounded with the weights, it would
    be another model than the one that the files give.
    """
    made = [(module, name, module._buffers[name]) for module in model.modules() for name in _not_saved(module)]
    torch.nn.Module.to(model, dtype)
    for module, name, buffer in made:
        module._buffers[name] = buffer if buffer is None else buffer.to(model.device)
    return model


def _not_saved(module: torch.nn.Module) -> set[str]:
    found: set[str] = module._non_persistent_buffers_set
    return found
