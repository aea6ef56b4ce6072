"""Greedy removal: which layer's absence hurts least, measured on the model itself, again and again.

Nothing below a layer changes when it goes: so each candidate starts from the state that came in where it was, and only
what lies above is computed. Per batch that is half of what whole forward passes would take, and the states of one batch
at each depth are all that is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity
from transformers import PreTrainedModel

from api_schemas.architectures import Architecture
from api_schemas.errors import LayercutError
from api_schemas.strategies import LayerImportance
from workers.pruning.importance import Batch, Read, check_rows, evaluating, inputs_of, not_finite, states_of
from workers.pruning.surgery import layer_count, layers_of


def measure_removals(
    model: PreTrainedModel,
    architecture: Architecture,
    batches: Callable[[], Iterable[Batch]],
    *,
    free: Collection[int],
    steps: int,
    answers: Answers | None = None,
) -> dict[str, LayerImportance]:
    """The order in which greedy removal takes ``steps`` of the layers ``free``; Peer et al. 2022, arXiv 2105.14839.

    ``removal_step`` (L): 1 for the layer that goes first, 2 for the next; ``steps`` + 1 for those that stay. So the
    first k are the choice for any k up to ``steps``. ``removal_hurt`` (L): how far the answer then is from the whole
    model's; 0 for those that stay. Of equals the higher layer goes.

    How far: by the form of the task's ``answers``; without them, per token KL(whole ‖ pruned) of a language model's
    words, or 1 - cosine of the last states where there is no head. The mean over the data, to which
    ``batches()`` gives the way once a step. No label is read: the model was trained on them, and knows them.

    Raises ``activations_not_finite`` and ``dataset_invalid``.
    """
    if 0 in free and getattr(model.config, "conv_kernel_size", None):
        raise LayercutError(
            "invalid_layers",
            "the convolution of this model follows its first layer: greedy removal must leave that one in place",
            param="/prune/protect_layers",
        )
    total = layer_count(model, architecture)
    kept, left = list(range(total)), sorted(free)
    step_of, hurt_of = [float(steps + 1)] * total, [0.0] * total
    ladder, wholes = _Ladder(model, architecture, answers), dict[int, _Answer]()
    with evaluating(model), torch.inference_mode():
        for step in range(1, steps + 1):
            hurts = _hurts(ladder, batches(), kept, left, wholes)
            broken = [layer for layer in left if not math.isfinite(hurts[layer])]
            if broken:
                message = f"without layer {broken[0]} the model's answer is not finite"
                raise LayercutError("activations_not_finite", message)
            gone = min(left, key=lambda layer: (hurts[layer], -layer))
            step_of[gone], hurt_of[gone] = float(step), hurts[gone]
            kept.remove(gone)
            left.remove(gone)
    return {"removal_step": step_of, "removal_hurt": hurt_of}


def _hurts(
    ladder: _Ladder, batches: Iterable[Batch], kept: list[int], candidates: list[int], wholes: dict[int, _Answer]
) -> dict[int, float]:
    """For each candidate, how far the answer without it, and what is gone already, is from the whole model's.

    ``wholes`` are the whole model's answers by batch, of a size to be kept from one step to the next.
    """
    sums = torch.zeros(len(candidates), dtype=torch.float64)
    weight = 0
    for number, batch in enumerate(batches):
        mask = ladder.enter(batch)
        answer = ladder.climb(kept)
        whole = wholes.get(number) or (answer if len(kept) == ladder.total else ladder.answer())
        if whole.form in FAR:
            wholes[number] = whole
        found = [_distance(whole, ladder.without(layer, kept), mask) for layer in candidates]
        sums += torch.stack([distance.double().sum() for distance in found]).cpu()
        weight += found[0].numel()
    check_rows(weight)
    return dict(zip(candidates, (sums / weight).tolist(), strict=True))


@dataclass(frozen=True)
class Answers:
    """How a model answers the task: ``read`` gives (places, …), of the ``form`` of a row of FAR."""

    form: str
    read: Read


class _Answer:
    """What a model says: by one of FAR, or ``words`` (rows, tokens, vocabulary), or ``states``."""

    def __init__(self, form: str, values: Tensor) -> None:
        # A divergence is the small rest of large terms; float64, but where that would be a whole vocabulary wide.
        self.form, self.values = form, values.float() if form == "words" else values.double()


class _Ladder:
    """A batch's way through the model's layers, to be entered at any depth."""

    def __init__(self, model: PreTrainedModel, architecture: Architecture, answers: Answers | None) -> None:
        self._model, self._row, self._answers = model, architecture, answers
        self._layers = layers_of(model, architecture)
        self._inputs: dict[str, Any] = {}
        self._below: dict[int, Tensor] = {}
        #: Whether layers give a tuple, and how much beside the state is in it; known once all of them have run.
        self._beside: int | None = None
        self.total = layer_count(model, architecture)

    def enter(self, batch: Batch) -> Tensor:
        """``batch`` is the one that is meant from now on; its mask, where the model is."""
        self._inputs = inputs_of(self._model, self._row, batch)
        self._below = {}
        mask: Tensor = self._inputs["attention_mask"]
        return mask

    def answer(self) -> _Answer:
        """As the model stands."""
        if self._answers is not None:
            return _Answer(self._answers.form, self._answers.read(self._model, self._inputs))
        found = self._model(**self._inputs)
        logits = getattr(found, "logits", None)
        if logits is not None and logits.ndim == 3 and self._model.get_output_embeddings() is not None:
            return _Answer("words", logits)
        if logits is not None and type(self._model).__name__.endswith("ForSequenceClassification"):
            return _Answer("classes" if logits.shape[-1] > 1 else "number", logits)
        base = found if hasattr(found, "last_hidden_state") else self._model.base_model(**self._inputs)
        return _Answer("states", base.last_hidden_state)

    def climb(self, kept: list[int]) -> _Answer:
        """The answer of the layers ``kept``; what comes into each of them is remembered.

        The first time, all are kept. (Of layers with one set of weights the answer is always that of all.)
        """
        handles = []
        if not self._row.shared_layers:
            handles = [self._layers[layer].register_forward_hook(self._note(layer), with_kwargs=True) for layer in kept]
        try:
            with self._replaced(self._gone(kept)):
                return self.answer()
        finally:
            for handle in handles:
                handle.remove()

    def without(self, gone: int, kept: list[int]) -> _Answer:
        """The answer of the layers ``kept`` but ``gone``; ``climb`` has been through ``kept``."""
        if self._row.shared_layers:
            return self._shorter(len(kept) - 1)
        stubs = self._gone(kept)
        # Layers below say nothing new: the state that came in is put in the place of the layer that goes.
        stubs |= dict.fromkeys(range(gone), None)
        stubs[gone] = self._below[gone]
        with self._replaced(stubs):
            return self.answer()

    def _gone(self, kept: list[int]) -> dict[int, Tensor | None]:
        """Layers that let everything pass."""
        if self._row.shared_layers:
            return {}
        return {layer: None for layer in range(self.total) if layer not in kept}

    def _shorter(self, layers: int) -> _Answer:
        """Of layers with one set of weights it is all one which goes."""
        config, field = self._model.config, self._row.count_field
        before = getattr(config, field)
        setattr(config, field, layers)
        try:
            return self.answer()
        finally:
            setattr(config, field, before)

    def _note(self, layer: int) -> Any:
        def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            self._below[layer], after = states_of(self._row, args, kwargs, output, turned=False)
            self._beside = len(output) - 1 if isinstance(output, tuple) else None
            if not after.isfinite().all():
                raise not_finite(layer, self._row)

        return note

    @contextmanager
    def _replaced(self, stubs: dict[int, Tensor | None]) -> Iterator[None]:
        before = list(self._layers)
        try:
            for layer, state in stubs.items():
                self._layers[layer] = _Stub(before[layer], state, self._beside)
            yield
        finally:
            for layer in stubs:
                self._layers[layer] = before[layer]


class _Stub(nn.Module):
    """In the place of a layer: gives ``state``, or what comes in, in the form that the layer has.

    The list keeps its length: what a model looks up by a layer's number (its kind of attention) stays right.
    """

    def __init__(self, layer: nn.Module, state: Tensor | None, beside: int | None) -> None:
        super().__init__()
        # Not as a submodule: nothing of it is run.
        object.__setattr__(self, "_instead_of", layer)
        self._state, self._beside = state, beside

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(object.__getattribute__(self, "_instead_of"), name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        state = self._state
        if state is None:
            state = args[0] if args else kwargs["hidden_states"]
        return state if self._beside is None else (state, *[None] * self._beside)


def _distance(whole: _Answer, pruned: _Answer, mask: Tensor) -> Tensor:
    """One number a row or a real token; see ``measure_removals``."""
    ours, theirs = whole.values, pruned.values
    if whole.form in FAR:
        return FAR[whole.form](ours, theirs)
    real = mask.bool()
    if whole.form == "words":
        return _divergence(ours[real], theirs[real])
    return 1 - cosine_similarity(ours[real], theirs[real], dim=-1)


def _divergence(whole: Tensor, pruned: Tensor) -> Tensor:
    aim, found = F.log_softmax(whole, dim=-1), F.log_softmax(pruned, dim=-1)
    return F.kl_div(found, aim, log_target=True, reduction="none").sum(-1)


def _yes_or_no_divergence(whole: Tensor, pruned: Tensor) -> Tensor:
    aim = whole.sigmoid()
    cross = F.binary_cross_entropy_with_logits(pruned, aim, reduction="none")
    return (cross - F.binary_cross_entropy_with_logits(whole, aim, reduction="none")).sum(-1)


#: By the form of answers (places, …): how far those of the pruned model are, one number a place.
FAR: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "classes": _divergence,
    "number": lambda whole, pruned: (whole - pruned).square().squeeze(-1),
    "yes_or_no": _yes_or_no_divergence,
    "vector": lambda whole, pruned: 1 - cosine_similarity(whole, pruned, dim=-1),
}
