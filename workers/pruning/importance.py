"""Measures: what ranked strategies rank layers by. Names as in ``MEASURES``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, normalize
from transformers import PreTrainedModel

from api_schemas.architectures import Architecture
from api_schemas.errors import LayercutError
from api_schemas.strategies import LayerImportance
from workers.pruning.surgery import layer_count, layers_of

#: ``input_ids`` and ``attention_mask``, each (rows, tokens), and whatever else the model takes.
Batch = dict[str, Tensor]
#: From answers, (rows, …) in float32, to the mean over the rows of each row's loss.
Loss = Callable[[Tensor], Tensor]
#: From a model, and what it is called with, to its answers.
Read = Callable[[PreTrainedModel, Batch], Tensor]


def logits_of(model: PreTrainedModel, inputs: Batch) -> Tensor:
    logits: Tensor = model(**inputs).logits
    return logits


def measure_weights(
    model: PreTrainedModel, architecture: Architecture, counted: Callable[[nn.ModuleList], Iterable[nn.Module]] = iter
) -> dict[str, LayerImportance]:
    """``weight_mean_abs`` and ``weight_variance`` of each layer, over all entries of its weight matrices together.

    Biases and norms are left out. The definition is ours: Sajjad et al. name the family and print no formula.
    Raises ``model_invalid`` where a layer holds a number that is not finite. ``counted`` hands out the layers, in turn.
    """
    stats = [_weight_stats(layer) for layer in counted(layers_of(model, architecture))]
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
    model: PreTrainedModel, architecture: Architecture, batches: Iterable[Batch]
) -> dict[str, LayerImportance]:
    """All measures of activations, of one pass over ``batches``, for a model of ``L`` layers.

    ``summary_cosine`` (L): the mean cosine of the summary token before and after each layer, over all rows; Sajjad et
    al. 2023. ``block_influence`` (L): 1 - the mean cosine of a layer's input and output, over all tokens that are not
    padding; Men et al. 2024, arXiv 2403.03853, eq. 1. ``angular_distance`` (L + 1, L + 1): the mean of
    arccos(cosine) / pi between the summary token in the input of layer l and in that of layer m, over all rows, the
    input of layer L being the output of the last; Gromov et al. 2024, arXiv 2403.17887, eq. 7.

    Labels are ignored. Only sums are kept. Raises ``activations_not_finite`` where a layer's output is not finite, and
    ``dataset_invalid`` where there is no row.
    """
    layers = layer_count(model, architecture)
    summary, tokens = torch.zeros(layers).double(), torch.zeros(layers).double()
    angles = torch.zeros(layers + 1, layers + 1).double()
    rows = count = 0
    with evaluating(model):
        for batch in batches:
            found = _compare(model, architecture, batch)
            _check_finite(found.summary + found.tokens, architecture)
            summary += found.summary
            tokens += found.tokens
            angles += found.angles
            rows += len(batch["input_ids"])
            count += int(batch["attention_mask"].sum())
    check_rows(rows)
    return {
        "summary_cosine": (summary / rows).tolist(),
        "block_influence": (1 - tokens / count).tolist(),
        "angular_distance": (angles / rows).tolist(),
    }


@dataclass
class _Compared:
    """Sums over one batch, as in ``measure_activations``: of cosines (L), and of angles (L + 1, L + 1)."""

    summary: Tensor
    tokens: Tensor
    angles: Tensor


@torch.inference_mode()
def _compare(model: PreTrainedModel, architecture: Architecture, batch: Batch) -> _Compared:
    inputs = inputs_of(model, architecture, batch)
    mask = inputs["attention_mask"].bool()
    positions = _summary_positions(inputs["attention_mask"], architecture)
    rows = torch.arange(len(positions), device=positions.device)
    summary: list[Tensor] = []
    tokens: list[Tensor] = []
    depths: list[Tensor] = []
    last: Tensor | None = None

    def compare(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        nonlocal last
        before, after = (state.float() for state in states_of(architecture, args, kwargs, output))
        tokens.append(cosine_similarity(before, after, dim=-1).where(mask, 0).double().sum())
        before, last = before[rows, positions], after[rows, positions]
        summary.append(cosine_similarity(before, last, dim=-1).double().sum())
        depths.append(before)

    with _hooked(layers_of(model, architecture), compare):
        model.base_model(**inputs)
    assert last is not None
    # In float64: where the cosine is near 1, the angle magnifies what rounding did to it.
    states = normalize(torch.stack([*depths, last], dim=1).double(), dim=-1)
    angles = (states @ states.mT).clamp(-1, 1).arccos().sum(0) / math.pi
    # A state is at no angle to itself; rounding says otherwise.
    return _Compared(torch.stack(summary).cpu(), torch.stack(tokens).cpu(), angles.fill_diagonal_(0).cpu())


def measure_gradients(
    model: PreTrainedModel,
    architecture: Architecture,
    batches: Iterable[tuple[Batch, Loss]],
    read: Read = logits_of,
) -> dict[str, LayerImportance]:
    """``taylor``: how much the loss moves, to first order, when a layer is taken out.

    Without layer l, what lies above it reads its input x instead of its output y. To first order, a row's loss E then
    changes by the sum over tokens and width of dE/dy * (x - y). The score is the mean over rows of the absolute value:
    changes of either sign count, and those of two rows do not cancel. It is Michel et al.'s score of heads (2019, arXiv
    1905.10650, eq. 2) with a layer's contribution y - x in the place of a head's.

    ``batches`` are as in ``measure_activations``, each with its loss. One forward and one backward pass; no weight
    gets a gradient. Raises ``activations_not_finite`` and ``dataset_invalid``.
    """
    sums = torch.zeros(layer_count(model, architecture)).double()
    rows = 0
    with evaluating(model):
        for batch, loss in batches:
            found = _first_order(model, architecture, batch, loss, read)
            _check_finite(found, architecture)
            sums += found
            rows += len(batch["input_ids"])
    check_rows(rows)
    return {"taylor": (sums / rows).tolist()}


def _first_order(model: PreTrainedModel, architecture: Architecture, batch: Batch, loss: Loss, read: Read) -> Tensor:
    """(L,): the sum over the batch's rows."""
    passed: list[tuple[Tensor, Tensor]] = []

    def keep(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        before, after = states_of(architecture, args, kwargs, output, turned=False)
        if not after.isfinite().all():
            raise not_finite(len(passed), architecture)
        passed.append((before.detach(), after))

    with torch.enable_grad(), _hooked(layers_of(model, architecture), keep):
        answers = read(model, inputs_of(model, architecture, batch))
        total = loss(answers.float()) * len(batch["input_ids"])
    gradients = torch.autograd.grad(total, [after for _, after in passed])
    over = (0, 2) if architecture.time_first else (1, 2)
    changes = [
        (gradient.double() * (before.double() - after.detach().double())).sum(over).abs().sum()
        for (before, after), gradient in zip(passed, gradients, strict=True)
    ]
    return torch.stack(changes).cpu()


def inputs_of(model: PreTrainedModel, architecture: Architecture, batch: Batch) -> dict[str, Any]:
    """What the model is called with."""
    tensors = {name: value.to(model.device) for name, value in batch.items() if name != "labels"}
    # Nothing is generated: a cache of keys and values would only fill memory.
    return {**tensors, "use_cache": False} if architecture.kind == "decoder" else tensors


def states_of(
    architecture: Architecture, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any, *, turned: bool = True
) -> tuple[Tensor, Tensor]:
    """A layer's input and output, (rows, tokens, width); as the layer has them, where not ``turned``.

    ``args``, ``kwargs`` and ``output`` are what a forward hook hears.
    """
    before = args[0] if args else kwargs["hidden_states"]
    after = output[0] if isinstance(output, tuple) else output
    if architecture.time_first and turned:
        return before.transpose(0, 1), after.transpose(0, 1)
    return before, after


def _check_finite(values: Tensor, architecture: Architecture) -> None:
    """``values`` are one a layer; the text goes on from the first that is wrong."""
    wrong = (~values.isfinite()).nonzero()
    if len(wrong):
        raise not_finite(int(wrong[0]), architecture)


def not_finite(layer: int, architecture: Architecture) -> LayercutError:
    """What is raised for ``layer``, which gives NaN or infinity."""
    # Layers that share their weights have no names of their own.
    name = "" if architecture.shared_layers else f" ({architecture.layers}.{layer})"
    return LayercutError(
        "activations_not_finite", f"the output of layer {layer}{name} is not finite: it holds NaN or infinity"
    )


def check_rows(rows: int) -> None:
    """Raise ``dataset_invalid`` where there were none."""
    if not rows:
        raise LayercutError("dataset_invalid", "there is no text to score layers on", param="/prune/calibration")


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """In evaluation mode, and afterwards as it was."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


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
