"""What a request to prune becomes on one model: which layers go, and what that saves."""

from __future__ import annotations

from pydantic import BaseModel, Field

from api_schemas.architectures import ARCHITECTURES, ModelFacts
from api_schemas.errors import LayercutError
from api_schemas.objectives import Objective
from api_schemas.per_stack import plain
from api_schemas.pruning import PruneSpec
from api_schemas.reports import Search, StackMap
from api_schemas.stacks import Part, parts_of, stack_maps
from api_schemas.strategies import (
    STRATEGIES,
    LayerImportance,
    Question,
    Selection,
    check_count,
    ranking,
    select_explicit,
    select_layers,
    select_threshold,
)

DEFAULT_DROP_RATIO = 1 / 3


class Plan(BaseModel):
    """A strategy worked out on one model. ``dropped`` is null until a worker has measured what it ranks by."""

    model: ModelFacts = Field(description="the model that it is for")
    strategy: str = Field(description="the rule that names the layers")
    layers_total: int = Field(description="layers of the model before")
    kept: list[int] | None = Field(description="numbers of the layers that stay, from 0; null until they are measured")
    dropped: list[int] | None = Field(description="numbers of the layers that go, from 0; null until they are measured")
    stacks: dict[str, StackMap] | None = Field(
        default=None,
        description="of an encoder-decoder, each stack's layers from 0; elsewhere they are numbered through, the"
        " encoder's first",
    )
    protected: list[int] = Field(description="layers that may not go")
    parameters_before: int | None = Field(description="parameters of the model before")
    parameters_after: int | None = Field(description="parameters of the model that is delivered")
    bytes_before: int | None = Field(description="bytes of the weights before")
    bytes_after: int | None = Field(description="bytes of the weights that are delivered")
    expected_speedup: float | None = Field(description="layers before / layers after: what depth alone gives")
    importance: list[float | None] | None = Field(
        default=None,
        description="one a layer; of `angular`, one a block of as many layers as go, by its first layer. Null for"
        " layers that an earlier job had dropped",
    )
    measure: str | None = Field(default=None, description="what the importance is measured by")
    search: Search | None = Field(default=None, description="of `auto`: how it came to its choice")
    measured_by: str | None = Field(
        default=None, description="the job that took the importance, where they were there already"
    )
    warnings: list[str] = Field(default=[], description="what to know before the numbers are believed, in sentences")


def protected_layers(part: Part) -> frozenset[int]:
    """The layers of one stack that may not be dropped; raises ``invalid_layers`` where one does not exist."""
    pinned = {0} if part.first_stays else set()
    if part.spec is None:
        return frozenset()
    asked = plain(part.spec.protect_layers)
    if asked is None:
        ends = {0, part.layers - 1} if part.is_decoder else {0}
        return frozenset(pinned | ends if STRATEGIES[part.spec.strategy].spares_ends else pinned)
    outside = sorted(layer for layer in asked if not 0 <= layer < part.layers)
    if outside:
        raise LayercutError(
            "invalid_layers",
            f"protected layers {outside} do not exist: {part.layers} layers are numbered 0 to {part.layers - 1}",
            param="/prune/protect_layers",
        )
    return frozenset(pinned.union(asked))


def all_protected(spec: PruneSpec, model: ModelFacts) -> frozenset[int]:
    """The layers of ``model`` that may not be dropped, numbered through its stacks."""
    return frozenset(part.first + layer for part in parts_of(spec, model) for layer in protected_layers(part))


def removal_steps(spec: PruneSpec, model: ModelFacts) -> int:
    """How many layers greedy removal takes: half of them at least, so that jobs for a smaller size share the order."""
    free = model.layers - len(all_protected(spec, model))
    return min(free, model.layers - 1, max(model.layers // 2, drop_count(spec, model, model.layers)))


def make_plan(spec: PruneSpec, model: ModelFacts, *, seed: int, importance: LayerImportance | None = None) -> Plan:
    """Which layers go and what that saves. Checks all that can be checked before the importance is known.

    ``importance`` is by the strategy's measure, as it was taken. Layers are numbered through the stacks of an
    encoder-decoder, the encoder's first; ``Plan.stacks`` has them apart.
    Raises ``LayercutError`` (``invalid_layers``, ``validation_failed``) with the field to blame.
    """
    strategy = STRATEGIES.find(spec.strategy, "/prune/strategy")
    if model.stacks is not None and strategy.needs_data:
        raise LayercutError(
            "validation_failed",
            f"strategy {strategy.name!r} sends text through one list of layers, and {model.architecture} has two",
            param="/prune/strategy",
        )
    drop = drop_count(spec, model, model.layers) if strategy.drops_block else 0
    ranked = None if importance is None else ranking(spec.strategy, importance, drop)
    protected: list[int] = []
    selection: Selection | None = Selection([], [], [])
    for part in parts_of(spec, model):
        with part.blamed():
            safe = protected_layers(part)
            protected += [part.first + layer for layer in sorted(safe)]
            selection = _joined(selection, _select(part, model, safe, seed, part.slice(ranked)), part)
    unknown = "a search has compared candidates" if strategy.searches else f"{strategy.measure} is measured"
    warnings = list(selection.warnings) if selection else [f"layers are known once {unknown}"]
    if ARCHITECTURES[model.architecture].shared_layers:
        warnings.append(ARCHITECTURES[model.architecture].note)
    after = _after(model, selection)
    return Plan(
        model=model,
        strategy=spec.strategy,
        layers_total=model.layers,
        kept=selection.kept if selection else None,
        dropped=selection.dropped if selection else None,
        stacks=stack_maps(model, selection.kept) if selection else None,
        protected=protected,
        parameters_before=model.parameters,
        parameters_after=after,
        bytes_before=model.bytes,
        bytes_after=_scaled(model.bytes, after, model.parameters),
        expected_speedup=round(model.layers / len(selection.kept), 3) if selection else None,
        importance=None if ranked is None else [*ranked],
        measure=strategy.measure,
        warnings=warnings,
    )


def _joined(before: Selection | None, found: Selection | None, part: Part) -> Selection | None:
    """With the layers of one more stack; None once the layers of one are not known yet."""
    if before is None or found is None:
        return None
    return Selection(
        dropped=before.dropped + [part.first + layer for layer in found.dropped],
        kept=before.kept + [part.first + layer for layer in found.kept],
        warnings=before.warnings + [f"{part.stack}: {text}" if part.stack else text for text in found.warnings],
    )


def _select(
    part: Part, model: ModelFacts, protected: frozenset[int], seed: int, importance: list[float] | None
) -> Selection | None:
    spec, total = part.spec, part.layers
    if spec is None:
        return Selection(dropped=[], kept=list(range(total)), warnings=[])
    if spec.drop_layers is not None or spec.keep_layers is not None:
        chosen = select_explicit(total, drop=plain(spec.drop_layers), keep=plain(spec.keep_layers))
        return _unprotected(chosen, protected)
    if STRATEGIES[spec.strategy].drops_nothing:
        return select_layers(spec.strategy, Question(total, 0))
    known = tuple(importance) if importance is not None else None
    needs_importance = STRATEGIES[spec.strategy].spares_ends
    if spec.threshold is not None:
        question = Question(total, 0, protected, known or (), seed)
        return select_threshold(spec.strategy, question, spec.threshold) if known is not None else None
    question = Question(total, drop_count(spec, model, total), protected, known or (), seed)
    if needs_importance and known is None:
        check_count(question.total, question.drop)
        # Any ranking shows whether the count fits beside the protected layers.
        select_layers(spec.strategy, Question(question.total, question.drop, protected, (0.0,) * question.total, seed))
        return None
    return select_layers(spec.strategy, question)


def _unprotected(selection: Selection, protected: frozenset[int]) -> Selection:
    lost = sorted(protected.intersection(selection.dropped))
    if lost:
        raise LayercutError(
            "invalid_layers", f"layers {lost} are both protected and to be dropped", param="/prune/protect_layers"
        )
    return selection


def drop_count(spec: PruneSpec, model: ModelFacts, total: int) -> int:
    """How many of ``total`` layers ``spec`` asks to drop; for a ratio at least 1, and never the last one left."""
    drop, ratio = plain(spec.drop), plain(spec.drop_ratio)
    if spec.objective is not None:
        return _drop_for(spec.objective, model)
    if drop is not None:
        return drop
    if spec.target_params is not None:
        return _drop_for_size(spec.target_params, model, "target_params")
    return max(1, min(total - 1, int(total * (DEFAULT_DROP_RATIO if ratio is None else ratio) + 0.5)))


def _drop_for(objective: Objective, model: ModelFacts) -> int:
    """As ``drop_count``; where only a search can tell, 1, which is the least."""
    if objective.max_params is not None:
        return _drop_for_size(objective.max_params, model, "objective/max_params")
    return 1 if objective.drop is None else objective.drop


def _drop_for_size(target: int, model: ModelFacts, field: str) -> int:
    name = field.rpartition("/")[2]
    per_layer = model.parameters_per_layer
    if model.parameters is None or not per_layer:
        raise LayercutError(
            "validation_failed",
            f"{name} needs a model whose layers have weights of their own, and whose weights can be read now",
            param=f"/prune/{field}",
        )
    if target >= model.parameters:
        raise LayercutError(
            "validation_failed",
            f"the model has {model.parameters} parameters already: {name} must be lower",
            param=f"/prune/{field}",
        )
    # Layers of the supported families are alike in size; the largest is a safe count.
    smallest = model.parameters - sum(sorted(per_layer)[1:])
    if target < smallest:
        raise LayercutError(
            "validation_failed",
            f"one layer alone leaves {smallest} parameters: {name} cannot be lower",
            param=f"/prune/{field}",
        )
    left, drop = model.parameters, 0
    for size in sorted(per_layer):
        if left <= target:
            break
        left, drop = left - size, drop + 1
    return drop


def _after(model: ModelFacts, selection: Selection | None) -> int | None:
    if selection is not None and ARCHITECTURES[model.architecture].shared_layers:
        return model.parameters
    if selection is None or model.parameters is None or model.parameters_per_layer is None:
        return None
    return model.parameters - sum(model.parameters_per_layer[layer] for layer in selection.dropped)


def _scaled(size: int | None, after: int | None, before: int | None) -> int | None:
    return None if size is None or after is None or not before else round(size * after / before)
