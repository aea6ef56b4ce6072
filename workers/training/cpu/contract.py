"""Whether a model is as the engine takes it to be. It goes round modules: who watches one of them would see nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook
from transformers import PreTrainedModel

from workers.training.cpu.blocks import encoder_of

#: Classes from here compute what the engine takes them to; those of PEFT, of parametrizations or of a user may not.
STOCK = ("torch.nn.modules.", "transformers.")

#: Its hooks stay on layers for good once hidden states were asked for. The engine gives those states itself.
CAPTURING = "transformers.utils.output_capturing"


def _hooked(module: nn.Module) -> bool:
    kinds = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(getattr(hook, "__module__", None) != CAPTURING for kind in kinds for hook in kind.values())


def _foreign(module: nn.Module) -> bool:
    return not type(module).__module__.startswith(STOCK)


def _altered(module: nn.Module) -> bool:
    return "forward" in vars(module)


def _compiled(module: nn.Module) -> bool:
    return module._compiled_call_impl is not None


def _watched(weight: Tensor) -> bool:
    return bool(weight._backward_hooks) or bool(weight._post_accumulate_grad_hooks)


#: The first that holds of a module that the engine goes round is told.
OF_MODULES: dict[str, Callable[[nn.Module], bool]] = {
    "has a class that is not of transformers or torch": _foreign,
    "has a hook": _hooked,
    "has a forward of its own": _altered,
    "is compiled": _compiled,
}


def objection(model: PreTrainedModel, *, packs: bool) -> str | None:
    """What stands against the engine, in words for a report; None where nothing does.

    ``packs``: the encoder is to be replaced, not the table of the word embeddings alone.
    """
    return next(_objections(model, packs), None)


def _objections(model: PreTrainedModel, packs: bool) -> Iterator[str]:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        yield "other processes may take part in the training"
    if packs and model.is_activation_checkpointing:
        yield "activation checkpointing is asked for"
    if packs and _has_any_global_hook():
        yield "there are hooks on all modules"
    for name, module in _replaced(model, packs):
        yield from (f"{name} {words}" for words, holds in OF_MODULES.items() if holds(module))
        for weight, tensor in module.named_parameters(recurse=False):
            if _watched(tensor):
                yield f"{name}.{weight} has a hook on its gradient"


def _replaced(model: PreTrainedModel, packs: bool) -> Iterator[tuple[str, nn.Module]]:
    """By name, what is not called inside, and who is given something else there than the whole sequence."""
    found = {model.get_input_embeddings()}
    if packs:
        found |= {model, model.base_model, *encoder_of(model).modules()}
    return ((name or type(model).__name__, module) for name, module in model.named_modules() if module in found)
