"""What may be asked of pruning, and the plan that it becomes on one model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from api_schemas.architectures import ARCHITECTURES, ModelFacts
from api_schemas.errors import LayercutError
from api_schemas.reports import Search, StackMap
from api_schemas.search import Objective
from api_schemas.stacks import AMOUNTS, Part, PerStack, parts_of, plain, stack_maps
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

# More than any model has; it keeps a refusal shorter than the request.
Layers = Annotated[list[int], Field(max_length=1024)]
Ratio = Annotated[float, Field(gt=0, lt=1)]


class CalibrationSpec(BaseModel):
    """The text that layers are measured on, by strategies that need some: the task's training rows, or text alone."""

    model_config = ConfigDict(extra="forbid")

    source: Literal["auto", "task", "text"] = Field(
        default="auto", description="auto: `text` where a dataset is given, else `task`"
    )
    dataset: str | None = Field(
        default=None,
        min_length=1,
        description="of `text`: a TXT (a text a line), JSONL, CSV or TSV file under an allowed root",
    )
    text_columns: list[str] = Field(
        default=[], max_length=2, description="of `dataset`; by default [text]. TXT has none"
    )
    rows: int = Field(default=512, le=100_000, description="measured on a seeded sample of this many rows")

    @model_validator(mode="after")
    def _whole(self) -> CalibrationSpec:
        if self.rows < 1:
            raise LayercutError(
                "validation_failed",
                f"calibration on {self.rows} rows measures nothing: give at least 1",
                param="/prune/calibration/rows",
            )
        if self.source == "text" and self.dataset is None:
            raise LayercutError(
                "validation_failed", "calibration on text needs a dataset", param="/prune/calibration/dataset"
            )
        extra = "dataset" if self.dataset is not None else "text_columns"
        if (self.source == "task" or self.dataset is None) and getattr(self, extra):
            raise LayercutError(
                "validation_failed",
                f"{extra} is for calibration on text; the task has its own",
                param=f"/prune/calibration/{extra}",
            )
        return self

    @property
    def on_text(self) -> bool:
        return self.dataset is not None

    @property
    def decided(self) -> CalibrationSpec:
        """With no "auto" in it."""
        return self.model_copy(update={"source": "text" if self.on_text else "task"})


class PruneSpec(BaseModel):
    """Which layers go. One amount at most is given; without any, a third of the layers goes.

    An encoder-decoder has two lists of layers, each numbered from 0: there a value is given for each by name,
    ``{"encoder": …, "decoder": …}``, and one that is not named stays whole.
    """

    model_config = ConfigDict(extra="forbid")

    strategy: str = Field(default="top", description="a name of GET /v1/strategies")
    drop: PerStack[int] | None = Field(default=None, description="number of layers to drop")
    drop_ratio: PerStack[Ratio] | None = Field(
        default=None, description="share of the layers to drop, rounded; of an encoder-decoder, of each"
    )
    drop_layers: PerStack[Layers] | None = Field(
        default=None, description="for `explicit`, from 0 in the original model"
    )
    keep_layers: PerStack[Layers] | None = Field(default=None, description="for `explicit`: all others go")
    target_params: int | None = Field(default=None, gt=0, description="drop as few layers as reach this size")
    threshold: float | None = Field(default=None, description="for `contribution`: every layer above it goes")
    objective: Objective | None = Field(default=None, description="for `auto`: what is to be reached")
    protect_layers: PerStack[Layers] | None = Field(
        default=None,
        description="never dropped; by default the first layer, and the last of a decoder, for strategies"
        " that rank layers, else []",
    )
    calibration: CalibrationSpec = CalibrationSpec()

    @model_validator(mode="after")
    def _one_amount_that_suits(self) -> PruneSpec:
        strategy = STRATEGIES.find(self.strategy, "/prune/strategy")
        given = [name for name in (*AMOUNTS, "objective") if getattr(self, name) is not None]
        if len(given) > 1:
            raise LayercutError(
                "validation_failed", f"give one of {', '.join(given)}, not {len(given)} at once", param="/prune"
            )
        if self.objective is not None and not strategy.searches:
            raise LayercutError(
                "validation_failed",
                f"strategy {self.strategy!r} takes no objective; auto does",
                param="/prune/objective",
            )
        lists = bool(given) and given[0] in ("drop_layers", "keep_layers")
        if (strategy.kind == "explicit") != lists:
            right = (
                "takes drop_layers or keep_layers" if strategy.kind == "explicit" else "does not take a list of layers"
            )
            where = "/prune/drop_layers" if strategy.kind == "explicit" else f"/prune/{given[0]}"
            raise LayercutError("validation_failed", f"strategy {self.strategy!r} {right}", param=where)
        if self.threshold is not None and not strategy.takes_threshold:
            able = ", ".join(row.name for row in STRATEGIES.values() if row.takes_threshold)
            raise LayercutError(
                "validation_failed",
                f"strategy {self.strategy!r} takes no threshold; these do: {able}",
                param="/prune/threshold",
            )
        if strategy.searches and self.calibration.on_text:
            raise LayercutError(
                "validation_failed",
                f"strategy {self.strategy!r} looks at the task's rows, and not at other text",
                param="/prune/calibration/dataset",
            )
        if not strategy.needs_data and self.calibration != CalibrationSpec():
            raise LayercutError(
                "validation_failed",
                f"strategy {self.strategy!r} looks at no text: it takes no calibration",
                param="/prune/calibration",
            )
        return self

    @property
    def decided(self) -> PruneSpec:
        """With no "auto" in what is read."""
        decided: dict[str, object] = {"objective": self.objective.decided} if self.objective else {}
        if STRATEGIES[self.strategy].needs_data:
            decided["calibration"] = self.calibration.decided
        return self.model_copy(update=decided)

    @property
    def open_size(self) -> bool:
        """Whether it takes a search to know how many layers go."""
        goal = self.objective
        return goal is not None and (goal.min_retention is not None or goal.max_latency_ms is not None)


class Plan(BaseModel):
    """A strategy worked out on one model. ``dropped`` is null until a worker has measured what it ranks by."""

    model: ModelFacts
    strategy: str
    layers_total: int
    kept: list[int] | None
    dropped: list[int] | None
    stacks: dict[str, StackMap] | None = Field(
        default=None,
        description="of an encoder-decoder, each stack's layers from 0; elsewhere they are numbered through, the"
        " encoder's first",
    )
    protected: list[int]
    parameters_before: int | None
    parameters_after: int | None
    bytes_before: int | None
    bytes_after: int | None
    expected_speedup: float | None = Field(description="layers before / layers after: what depth alone gives")
    importance: list[float] | None = Field(
        default=None, description="one a layer; of `angular`, one a block of as many layers as go, by its first layer"
    )
    measure: str | None = Field(default=None, description="what the importance is measured by")
    search: Search | None = Field(default=None, description="of `auto`: how it came to its choice")
    measured_by: str | None = Field(
        default=None, description="the job that took the importance, where they were there already"
    )
    warnings: list[str] = []


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
        importance=ranked,
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
