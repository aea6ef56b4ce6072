"""Whose choices compete: what each strategy would drop, each choice once. Imports no torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

from api_schemas.architectures import ModelFacts
from api_schemas.errors import LayercutError
from api_schemas.plans import all_protected, make_plan
from api_schemas.pruning import CalibrationSpec, PruneSpec
from api_schemas.reports import Candidate
from api_schemas.strategies import STRATEGIES, LayerImportance

#: Where there are no more ways than this to drop so many layers, all of them compete.
FEW_WAYS = 12
EVERYONE = "all"

#: Not the control: a choice by chance has no reason behind it.
COMPETING = tuple(row.name for row in STRATEGIES.values() if row.kind in ("fixed", "ranked", "measured"))
CONTROLS = frozenset({"random"})


def asked_of(spec: PruneSpec, model: ModelFacts, drop: int) -> dict[str, PruneSpec]:
    """What each strategy is asked, by its name. What ``auto`` protects is protected in all of them."""
    protected = sorted(all_protected(spec, model))
    asked: dict[str, PruneSpec] = {}
    for name in COMPETING:
        if name not in CONTROLS:
            text = spec.calibration if STRATEGIES[name].needs_data else CalibrationSpec()
            asked[name] = PruneSpec(strategy=name, drop=drop, protect_layers=protected, calibration=text)
    return asked


def candidates_of(
    spec: PruneSpec, model: ModelFacts, drop: int, importance: Mapping[str, LayerImportance]
) -> list[Candidate]:
    """Every strategy's choice of ``drop`` layers; ``importance`` is by measure. A strategy that cannot choose, by its
    own rule or for lack of a measurement, does not compete.
    """
    named: dict[tuple[int, ...], list[str]] = {}
    for name, own in asked_of(spec, model, drop).items():
        measure = STRATEGIES[name].measure
        try:
            plan = make_plan(own, model, seed=0, importance=importance.get(measure) if measure else None)
        except LayercutError:
            continue
        if plan.dropped is not None:
            named.setdefault(tuple(plan.dropped), []).append(name)
    free = sorted(set(range(model.layers)) - all_protected(spec, model))
    if not named or math.comb(len(free), drop) <= FEW_WAYS:
        for dropped in itertools.islice(itertools.combinations(free, drop), FEW_WAYS):
            named.setdefault(dropped, [EVERYONE])
    return [Candidate(dropped=list(dropped), strategies=names) for dropped, names in sorted(named.items())]
