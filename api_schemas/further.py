"""Plans that go on from an earlier job's model: strategies see the layers that are left, and people the original's.

Whatever a request or a plan says is numbered in the original model. What comes between is numbered from 0 in what is
left, as of a model of its own.
"""

from __future__ import annotations

from typing import Any

from api_schemas.architectures import ModelFacts
from api_schemas.delivered import Start
from api_schemas.errors import LayercutError
from api_schemas.plans import Plan, make_plan
from api_schemas.pruning import PruneSpec
from api_schemas.strategies import STRATEGIES, LayerImportance

#: Lists of the original's layers.
LISTS = ("drop_layers", "keep_layers", "protect_layers")


def plan_job(
    spec: PruneSpec,
    model: ModelFacts,
    start: Start | None,
    *,
    seed: int,
    importance: LayerImportance | None = None,
) -> Plan:
    """As ``make_plan``; from ``start`` on, where there is one. ``importance`` is then of the layers that are left."""
    if start is None:
        return make_plan(spec, model, seed=seed, importance=importance)
    check_start(model, start)
    try:
        found = make_plan(left_spec(spec, start), start.model, seed=seed, importance=importance)
    except LayercutError as error:
        left = f"counted in what {start.job} left of the model, which are its layers {start.kept}"
        raise LayercutError(error.code, f"{error.message} ({left})", param=error.param) from None
    return _numbered(found, model, start)


def check_start(model: ModelFacts, start: Start) -> None:
    """Raise ``validation_failed`` or ``unsupported_architecture`` where a plan for ``model`` cannot begin at ``start``.

    That ``start`` was made of ``model`` is for the caller to know.
    """
    if model.stacks is not None:
        raise LayercutError(
            "unsupported_architecture",
            f"{model.architecture} has two lists of layers, and recovery.from is for models with one: give"
            f" model: job:{start.job} to go on from what it delivered",
            param="/recovery/from",
        )
    numbered = start.kept == sorted(set(start.kept) & set(range(start.total)))
    if not numbered or len(start.kept) != start.model.layers or start.total != model.layers:
        raise LayercutError(
            "validation_failed",
            f"{start.job} says that it kept {start.kept} of {start.total} layers, and delivered a model of"
            f" {start.model.layers}; the model has {model.layers}",
            param="/recovery/from",
        )


def left_spec(spec: PruneSpec, start: Start | None) -> PruneSpec:
    """``spec`` with its lists numbered in what is left; raises ``invalid_layers`` for a layer that is gone."""
    if start is None:
        return spec
    given = {name: getattr(spec, name) for name in LISTS if getattr(spec, name) is not None}
    return spec.model_copy(update={name: _left(name, layers, start) for name, layers in given.items()})


def _left(name: str, layers: Any, start: Start) -> Any:
    if isinstance(layers, dict):  # of an encoder-decoder, and refused as such
        return layers
    gone = sorted({layer for layer in layers if layer not in start.kept})
    if gone:
        raise LayercutError(
            "invalid_layers",
            f"layers {gone} are not in what {start.job} delivered; numbered in the original model, it has {start.kept}",
            param=f"/prune/{name}",
        )
    return [start.place(layer) for layer in layers]


def _numbered(found: Plan, model: ModelFacts, start: Start) -> Plan:
    """``found`` as a plan of the original: what was gone before is dropped too."""
    kept = None if found.kept is None else start.originals(found.kept)
    return found.model_copy(
        update={
            "model": model,
            "layers_total": model.layers,
            "kept": kept,
            "dropped": None if kept is None else [layer for layer in range(model.layers) if layer not in kept],
            "protected": start.originals(found.protected),
            "parameters_before": model.parameters,
            "bytes_before": model.bytes,
            "expected_speedup": None if kept is None else round(model.layers / len(kept), 3),
            "importance": _by_layer(found, start),
        }
    )


def _by_layer(found: Plan, start: Start) -> list[float | None] | None:
    """By the original's layer: null for those that were gone before; of blocks, by their first layer."""
    if found.importance is None:
        return None
    values: list[float | None] = [None] * start.total
    for place, value in enumerate(found.importance):
        values[start.kept[place]] = value
    if STRATEGIES[found.strategy].drops_block:
        del values[start.kept[len(found.importance) - 1] + 1 :]
    return values
