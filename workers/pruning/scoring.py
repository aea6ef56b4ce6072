"""Measures: one number a layer, by which scored strategies rank. Names as in ``Strategy.measure``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity
from transformers import PreTrainedModel

from api_schemas.architectures import Architecture
from api_schemas.errors import LayercutError
from workers.pruning.surgery import layer_count, layers_of


def measure_weights(model: PreTrainedModel, architecture: Architecture) -> dict[str, list[float]]:
    """``weight_mean_abs`` and ``weight_variance`` of each layer, over all entries of its weight matrices together.

    Biases and norms are left out. The definition is ours: Sajjad et al. name the family and print no formula.
    Raises ``model_invalid`` where a layer holds a number that is not finite.
    """
    stats = [_weight_stats(layer) for layer in layers_of(model, architecture)]
    broken = [index for index, pair in enumerate(stats) if not all(map(math.isfinite, pair))]
    if broken:
        raise LayercutError("model_invalid", f"weights of layer {broken[0]} are not finite", param="/model")
    if architecture.shared_layers:
        stats = stats * layer_count(model, architecture)
    return {"weight_mean_abs": [mean for mean, _ in stats], "weight_variance": [variance for _, variance in stats]}


def _weight_stats(layer: nn.Module) -> tuple[float, float]:
    # XLNet's attention biases are matrices too, one row a head: the name tells.
    matrices = [
        weight.detach().double()
        for name, weight in layer.named_parameters()
        if weight.ndim > 1 and not name.endswith("bias")
    ]
    count = sum(matrix.numel() for matrix in matrices)
    mean_abs = sum(float(matrix.abs().sum()) for matrix in matrices) / count
    mean = sum(float(matrix.sum()) for matrix in matrices) / count
    variance = sum(float((matrix - mean).square().sum()) for matrix in matrices) / count
    return mean_abs, variance


def measure_activations(
    model: PreTrainedModel, architecture: Architecture, batches: Iterable[dict[str, Tensor]]
) -> dict[str, list[float]]:
    """``summary_cosine``: the mean cosine of the summary token before and after each layer, over all rows.

    ``batches`` hold ``input_ids`` and ``attention_mask``, each (rows, tokens), and whatever else the model takes;
    labels are ignored. Only sums are kept. Raises ``training_diverged`` where a layer's output is not finite, and
    ``dataset_invalid`` where there is no row.
    """
    sums = [0.0] * layer_count(model, architecture)
    rows = 0
    was_training = model.training
    model.eval()
    try:
        for batch in batches:
            for layer, value in enumerate(_cosines(model, architecture, batch)):
                sums[layer] += float(value.double().sum())
                if not math.isfinite(sums[layer]):
                    raise LayercutError("training_diverged", f"the output of layer {layer} is not finite")
            rows += len(batch["input_ids"])
    finally:
        model.train(was_training)
    if not rows:
        raise LayercutError("dataset_invalid", "there is no text to score layers on", param="/task")
    return {"summary_cosine": [total / rows for total in sums]}


@torch.inference_mode()
def _cosines(model: PreTrainedModel, architecture: Architecture, batch: dict[str, Tensor]) -> list[Tensor]:
    """One (rows,) tensor a layer, in the order in which the text goes through them."""
    inputs = {name: value.to(model.device) for name, value in batch.items() if name != "labels"}
    positions = _summary_positions(inputs["attention_mask"], architecture)
    rows = torch.arange(len(positions), device=positions.device)
    found: list[Tensor] = []

    def compare(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        before = args[0] if args else kwargs["hidden_states"]
        after = output[0] if isinstance(output, tuple) else output
        at = (positions, rows) if architecture.time_first else (rows, positions)
        found.append(cosine_similarity(before[at].float(), after[at].float(), dim=-1))

    with _hooked(layers_of(model, architecture), compare):
        model.base_model(**inputs)
    return found


def _summary_positions(mask: Tensor, architecture: Architecture) -> Tensor:
    """(rows,): where each row's first, or last, real token stands, whichever side is padded."""
    if architecture.summary == "first":
        return mask.int().argmax(dim=1)
    return mask.shape[1] - 1 - mask.int().flip(1).argmax(dim=1)


@contextmanager
def _hooked(layers: nn.ModuleList, hook: Any) -> Iterator[None]:
    # A layer whose weights are shared runs, and is heard, once for each time that the text goes through it.
    handles = [layer.register_forward_hook(hook, with_kwargs=True) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
