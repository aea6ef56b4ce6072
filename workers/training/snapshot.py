"""All that a training's next step depends on, beside its data and its settings: as tensors and JSON, and back again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from workers.checkpoints.checkpoint import Checkpoint
from workers.training.optimizer import Stepper
from workers.training.trainer_state import TrainerState

WEIGHTS, BEST, OPTIMIZER, RANDOM, RANDOM_CUDA = "weights/", "best/", "optimizer/", "random/cpu", "random/cuda"


def weights_of(model: nn.Module, *, copy: bool = False) -> dict[str, Tensor]:
    """Every weight once, by name; ``copy`` puts them aside in the CPU's memory. No architecture here trains buffers."""
    return {
        name: weight.detach().to("cpu", copy=True) if copy else weight.detach().contiguous()
        for name, weight in model.named_parameters()
    }


def load_weights(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Raises ``KeyError`` where one is missing."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(tensors[name])


def saved_state(
    model: nn.Module, stepper: Stepper, best: dict[str, Tensor], device: torch.device
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """To be taken between two steps, while the embedding is compact: its other rows are the source's, but for decay.

    ``best`` are the weights that did best so far.
    """
    optimizer, facts = stepper.state()
    tensors = {
        **_prefixed(WEIGHTS, weights_of(model)),
        **_prefixed(BEST, best),
        **_prefixed(OPTIMIZER, optimizer),
        RANDOM: torch.get_rng_state(),
    }
    if device.type == "cuda":
        tensors[RANDOM_CUDA] = torch.cuda.get_rng_state(device)
    return tensors, facts


def restored(model: nn.Module, stepper: Stepper, saved: Checkpoint, device: torch.device) -> TrainerState:
    """Make model, stepper and generators what they were; the numbers so far."""
    load_weights(model, _under(WEIGHTS, saved.tensors))
    # Copies: what safetensors gives is a view into the file.
    optimizer = {key: value.clone() for key, value in _under(OPTIMIZER, saved.tensors).items()}
    stepper.restore(optimizer, saved.facts["stepper"])
    torch.set_rng_state(saved.tensors[RANDOM])
    if device.type == "cuda":
        torch.cuda.set_rng_state(saved.tensors[RANDOM_CUDA], device)
    return TrainerState(**saved.facts["state"])


def best_of(saved: Checkpoint | None) -> dict[str, Tensor]:
    """The weights that had done best; none where the training begins."""
    return {} if saved is None else {name: tensor.clone() for name, tensor in _under(BEST, saved.tensors).items()}


def _prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
