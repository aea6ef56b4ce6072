"""What can be refused before a job is taken: what the tables, the model's files and the dataset already show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, NamedTuple

from api_schemas.architectures import ModelFacts
from api_schemas.curves import choose, objective_of, search_of, searched_plan, sizes_of
from api_schemas.delivered import Delivered, Start
from api_schemas.errors import LayercutError
from api_schemas.further import plan_job
from api_schemas.pinned import PinnedSource
from api_schemas.plans import Plan
from api_schemas.reports import Bracket
from api_schemas.request_checks import check_id
from api_schemas.requests import JobRequest, PlanRequest
from api_schemas.resolved import ResolvedRequest, resolve
from api_schemas.search import Unknown
from api_schemas.strategies import STRATEGIES
from service.ceilings import check_model, check_request
from service.known_importance import Known, KnownImportance
from service.named_sources import NamedSources
from service.settings import GatewaySettings
from sources.models import inspect
from sources.stored_model import StoredModel
from sources.tasks import Asked, with_data

MODEL_REFUSALS = (
    "unknown_strategy",
    "invalid_layers",
    "unsupported_architecture",
    "unsupported_format",
    "model_not_found",
    "model_not_allowed",
    "model_invalid",
)
DATA_REFUSALS = ("unknown_task", "dataset_not_found", "dataset_not_allowed", "dataset_invalid")
#: Of jobs, uploads and object stores that the request names.
NAMED_REFUSALS = (
    "job_not_found",
    "result_not_ready",
    "upload_not_found",
    "upload_not_ready",
    "expired",
    "storage_unavailable",
    "source_unavailable",
)
REFUSALS = (
    *MODEL_REFUSALS, *DATA_REFUSALS, *NAMED_REFUSALS, "ceiling_passed", "hub_unavailable", "format_unavailable",
)  # fmt: skip

HOW_TO_MEASURE = (
    "no importance is kept for this question: a job (POST /v1/jobs) measures it that has the same model, task,"
    " recovery, prune.calibration and seed, whatever it drops; after it, this call answers from them"
)

HOW_TO_SEARCH = (
    "what is kept does not answer this question: a job (POST /v1/jobs) with the same model, task, recovery, prune and"
    " seed searches; after it, this call answers. Speed is measured by jobs alone, on their device"
)


def admit(request: JobRequest, settings: GatewaySettings, named: NamedSources | None = None) -> ResolvedRequest:
    """What the job will do, or ``LayercutError`` where it cannot work. ``named`` finds what the request names of the
    tenant's own jobs and uploads, and of object stores.

    Where the model cannot be looked at now, recovery and plan are null: its worker decides them.
    """
    check_request(request, settings)
    return admit_as(request, see(request, settings, named))


class Looked(NamedTuple, Generic[Asked]):
    """A request with its data, the settings that the data is read by, and the facts of its model, where they can be
    known now; what a job delivered, where the model is that.
    """

    request: Asked
    settings: GatewaySettings
    facts: ModelFacts | None
    delivered: Delivered | None


class Seen(NamedTuple):
    """What there is to look at for a job, once it was: alike for all that name the same model and data."""

    looked: Looked[JobRequest]
    start: Start | None
    sources: tuple[PinnedSource, ...]
    warnings: tuple[str, ...]
    stored: StoredModel | None


def see(request: JobRequest, settings: GatewaySettings, named: NamedSources | None = None) -> Seen:
    """Look at the model and the data of ``request``. Raises as ``admit``."""
    looked = _look(request, settings, named)
    start = _start(looked.request, looked.facts, named)
    if named is None:
        return Seen(looked, start, (), (), None)
    return Seen(looked, start, tuple(named.sources), tuple(named.warnings), named.stored)


def admit_as(request: JobRequest, seen: Seen) -> ResolvedRequest:
    """As ``admit``, where one with the same model, task, ``prune.calibration``, ``recovery.text`` and
    ``recovery.from`` was seen: nothing is looked at again.
    """
    of, looked = seen.looked.request, seen.looked
    prune = request.prune.model_copy(update={"calibration": of.prune.calibration})
    recovery = request.recovery.model_copy(update={"text": of.recovery.text})
    request = request.model_copy(update={"task": of.task, "prune": prune, "recovery": recovery})
    resolved = resolve(request, looked.facts, delivered=looked.delivered, start=seen.start, sources=seen.sources)
    return resolved.model_copy(update={"plan": _warned(resolved.plan, seen.warnings)})


class Planned(NamedTuple):
    """A request with its data, its plan, and what ``recovery.from`` names."""

    request: PlanRequest
    plan: Plan
    start: Start | None


def plan(
    request: PlanRequest, settings: GatewaySettings, importance: KnownImportance, named: NamedSources | None = None
) -> Planned:
    """What the request becomes; raises ``LayercutError``, ``hub_unavailable`` where the model is out of
    reach.

    A strategy that ranks by importance is answered from what a job has measured; without that, the plan says how to
    get it.
    """
    check_request(request, settings)
    looked = _look(request, settings, named)
    request, facts = looked.request, looked.facts
    if facts is None:
        raise _unknown(request)
    request.check_model(facts)
    start = _start(request, facts, named)
    stored = named.stored if named else None
    known = Known(request, facts, looked.settings, looked.delivered, stored, start)
    made = _warned(_planned(known, importance), named.warnings if named else ())
    assert made is not None
    return Planned(request, made, start)


def _warned(plan: Plan | None, warnings: Sequence[str]) -> Plan | None:
    """With what was not looked at in full."""
    if plan is None or not warnings:
        return plan
    return plan.model_copy(update={"warnings": [*plan.warnings, *warnings]})


def _planned(known: Known, importance: KnownImportance) -> Plan:
    request, facts, start = known.request, known.facts, known.start
    unmeasured = plan_job(request.prune, facts, start, seed=request.seed)
    if STRATEGIES[request.prune.strategy].searches:
        return _searched(known, unmeasured, importance)
    measure = STRATEGIES[request.prune.strategy].measure
    if measure is None:
        return unmeasured
    found = importance.find(known)
    if found is None:
        return unmeasured.model_copy(update={"warnings": [*unmeasured.warnings, HOW_TO_MEASURE]})
    made = plan_job(request.prune, facts, start, seed=request.seed, importance=found.importance[measure])
    return made.model_copy(update={"measured_by": found.job_id})


def _look(request: Asked, settings: GatewaySettings, named: NamedSources | None) -> Looked[Asked]:
    if named is not None:
        request = named.fetch(request)
        settings = named.settings
    request = with_data(request, settings)
    ref, modules, delivered = request.model, request.keeps_modules, None
    if named is not None and ref.job_id is not None:
        delivered = named.earlier.model(ref, modules=modules)
        facts: ModelFacts | None = delivered.model
    elif named is not None and ref.is_stored:
        facts = named.model(ref, modules=modules)
    else:
        facts = inspect(ref, settings, modules=modules)
    if facts is None:
        _check_unseen(request)
    check_model(facts, settings)
    return Looked(request, settings, facts, delivered)


def _check_unseen(request: JobRequest | PlanRequest) -> None:
    """Of a model that the hub does not show now: what its id tells, and whether its worker may ask the hub later."""
    check_id(request.task, request.model.id)
    if request.model.must_resolve:
        raise _unknown(request)


def _start(request: JobRequest | PlanRequest, facts: ModelFacts | None, named: NamedSources | None) -> Start | None:
    if request.recovery.from_ is None or named is None:
        return None
    if facts is None:  # whether it is that job's model cannot be told
        raise _unknown(request)
    return named.earlier.start(request, facts)


def _unknown(request: JobRequest | PlanRequest) -> LayercutError:
    message = f"the model hub did not answer for {request.model.id!r}; try again later"
    return LayercutError("hub_unavailable", message, param="/model")


def _searched(known: Known, unknown: Plan, importance: KnownImportance) -> Plan:
    """The plan of `auto`, as far as the brackets that jobs have run can tell."""
    spec, facts = known.request.prune, known.facts
    objective = objective_of(spec, facts)
    run = importance.brackets(known, by_retention=objective.min_retention is not None)
    brackets = {drop: bracket for drop, (bracket, _) in run.items()}

    def run_bracket(drop: int) -> Bracket:
        if drop not in brackets:
            raise Unknown
        return brackets[drop]

    try:
        chosen = choose(objective, sizes_of(spec, facts), run_bracket, {})
        run_bracket(chosen)
    except Unknown:
        search = search_of(spec, facts, brackets, {}, chosen=None) if brackets else None
        return unknown.model_copy(update={"search": search, "warnings": [*unknown.warnings, HOW_TO_SEARCH]})
    made = searched_plan(spec, facts, search_of(spec, facts, brackets, {}, chosen=chosen))
    return made.model_copy(update={"measured_by": run[chosen][1]})
