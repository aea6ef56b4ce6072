"""From brackets to a plan: the curve over sizes, and the size that an objective takes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from api_schemas.architectures import ModelFacts
from api_schemas.objectives import Objective
from api_schemas.plans import Plan, all_protected, drop_count, make_plan
from api_schemas.pruning import PruneSpec
from api_schemas.reports import Bracket, CurvePoint, Latency, Search
from api_schemas.search import Unknown, choose_by_latency, choose_by_retention, with_front


def sizes_of(spec: PruneSpec, model: ModelFacts) -> list[int]:
    """How many layers may go, ascending: the one count that is asked for, or all that leave a layer."""
    if not spec.open_size:
        return [drop_count(spec, model, model.layers)]
    free = model.layers - len(all_protected(spec, model))
    return list(range(1, min(free, model.layers - 1) + 1))


def objective_of(spec: PruneSpec, model: ModelFacts) -> Objective:
    """What is to be reached; an amount of ``prune`` is a number of layers."""
    return spec.objective or Objective(drop=drop_count(spec, model, model.layers))


def choose(
    objective: Objective, sizes: list[int], run_bracket: Callable[[int], Bracket], latencies: Mapping[int, Latency]
) -> int:
    """How many layers go. Raises what ``run_bracket`` does; ``Unknown`` where speed decides and was not measured."""
    if objective.min_retention is not None:
        return choose_by_retention(sizes, objective.min_retention, run_bracket)
    if objective.max_latency_ms is not None:
        if not latencies:
            raise Unknown
        return choose_by_latency(sizes, objective.max_latency_ms, dict(latencies))
    return sizes[0]


def search_of(
    spec: PruneSpec,
    model: ModelFacts,
    brackets: Mapping[int, Bracket],
    latencies: Mapping[int, Latency],
    *,
    chosen: int | None,
) -> Search:
    """All that is known, as the report shows it."""
    drops = sorted(brackets.keys() | latencies.keys())
    curve = with_front([_point(model, drop, brackets.get(drop), latencies.get(drop)) for drop in drops])
    return Search(
        objective=objective_of(spec, model).decided,
        chosen=chosen,
        curve=curve,
        front=[point.drop for point in curve if point.front],
        brackets=[brackets[drop] for drop in sorted(brackets)],
        steps=sum(bracket.steps for bracket in brackets.values()),
        spent_steps=0,
    )


def searched_plan(spec: PruneSpec, model: ModelFacts, search: Search) -> Plan:
    """The plan of the chosen size's best candidate."""
    best = next(bracket.best for bracket in search.brackets if bracket.drop == search.chosen)
    plan = _explicit(model, best.dropped)
    protected = sorted(all_protected(spec, model))
    return plan.model_copy(update={"strategy": spec.strategy, "protected": protected, "search": search})


def _point(model: ModelFacts, drop: int, bracket: Bracket | None, latency: Latency | None) -> CurvePoint:
    # Layers of the supported families are alike in size: for a size that was only timed, the highest stand for any.
    dropped = bracket.best.dropped if bracket else list(range(model.layers - drop, model.layers))
    plan = _explicit(model, dropped)
    size = {"drop": drop, "parameters": plan.parameters_after, "bytes": plan.bytes_after, "latency": latency}
    if bracket is None:
        return CurvePoint(kept=None, dropped=None, **size)
    best = bracket.best
    return CurvePoint(
        **size, kept=plan.kept, dropped=dropped, strategies=best.strategies, retention=bracket.retention,
        **best.last.model_dump(),
    )  # fmt: skip


def _explicit(model: ModelFacts, dropped: list[int]) -> Plan:
    return make_plan(PruneSpec(strategy="explicit", drop_layers=dropped), model, seed=0)
