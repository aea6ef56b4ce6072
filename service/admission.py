"""What can be refused before a job is taken: what the tables, the model's files and the dataset already show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from api_schemas.architectures import ModelFacts
from api_schemas.curves import choose, objective_of, search_of, searched_plan, sizes_of
from api_schemas.delivered import Delivered, Start
from api_schemas.errors import LayercutError
from api_schemas.further import plan_job
from api_schemas.plans import Plan
from api_schemas.reports import Bracket
from api_schemas.requests import JobRequest, PlanRequest
from api_schemas.resolved import ResolvedRequest, resolve
from api_schemas.search import Unknown
from api_schemas.strategies import STRATEGIES
from service.ceilings import check_model, check_request
from service.earlier_jobs import EarlierJobs
from service.known_importance import KnownImportance
from service.settings import GatewaySettings
from sources.models import inspect
from sources.tasks import with_data

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
#: Of jobs that the request names.
EARLIER_REFUSALS = ("job_not_found", "result_not_ready", "expired", "storage_unavailable")
REFUSALS = (
    *MODEL_REFUSALS, *DATA_REFUSALS, *EARLIER_REFUSALS, "ceiling_passed", "hub_unavailable", "format_unavailable",
)  # fmt: skip

HOW_TO_MEASURE = (
    "no importance is kept for this question: a job (POST /v1/jobs) measures it that has the same model, task,"
    " recovery, prune.calibration and seed, whatever it drops; after it, this call answers from them"
)

HOW_TO_SEARCH = (
    "what is kept does not answer this question: a job (POST /v1/jobs) with the same model, task, recovery, prune and"
    " seed searches; after it, this call answers. Speed is measured by jobs alone, on their device"
)


def admit(request: JobRequest, settings: GatewaySettings, earlier: EarlierJobs | None = None) -> ResolvedRequest:
    """What the job will do, or ``LayercutError`` where it cannot work. ``earlier`` are the tenant's own jobs.

    Where the model cannot be looked at now, recovery and plan are null: its worker decides them.
    """
    check_request(request, settings)
    request = with_data(request, settings)
    facts, delivered = _look(request, settings, earlier)
    start = _start(request, facts, earlier)
    return resolve(request, facts, delivered=delivered, start=start)


class Planned(NamedTuple):
    """A request with its data, its plan, and what ``recovery.from`` names."""

    request: PlanRequest
    plan: Plan
    start: Start | None


def plan(
    request: PlanRequest, settings: GatewaySettings, importance: KnownImportance, earlier: EarlierJobs | None = None
) -> Planned:
    """What the request becomes; raises ``LayercutError``, ``hub_unavailable`` where the model is out of
    reach.

    A strategy that ranks by importance is answered from what a job has measured; without that, the plan says how to
    get it.
    """
    check_request(request, settings)
    request = with_data(request, settings)
    facts, delivered = _look(request, settings, earlier)
    if facts is None:
        raise _unknown(request)
    request.check_model(facts)
    start = _start(request, facts, earlier)
    return Planned(request, _planned(request, Known(facts, delivered, start), importance), start)


@dataclass(frozen=True)
class Known:
    """A model's facts; what a job delivered, where the model is that; and what recovery starts from."""

    facts: ModelFacts
    delivered: Delivered | None
    start: Start | None


def _planned(request: PlanRequest, known: Known, importance: KnownImportance) -> Plan:
    facts, delivered, start = known.facts, known.delivered, known.start
    unmeasured = plan_job(request.prune, facts, start, seed=request.seed)
    if STRATEGIES[request.prune.strategy].searches:
        return _searched(request, facts, delivered, unmeasured, importance)
    measure = STRATEGIES[request.prune.strategy].measure
    if measure is None:
        return unmeasured
    found = importance.find(request, facts, delivered, start)
    if found is None:
        return unmeasured.model_copy(update={"warnings": [*unmeasured.warnings, HOW_TO_MEASURE]})
    made = plan_job(request.prune, facts, start, seed=request.seed, importance=found.importance[measure])
    return made.model_copy(update={"measured_by": found.job_id})


def _look(
    request: JobRequest | PlanRequest, settings: GatewaySettings, earlier: EarlierJobs | None
) -> tuple[ModelFacts | None, Delivered | None]:
    """The facts of the request's model, where they can be known now, and what a job delivered where it is that."""
    ref, delivered = request.model, None
    if ref.job_id is not None and earlier is not None:
        delivered = earlier.model(ref, modules=request.keeps_modules)
    facts = delivered.model if delivered else inspect(ref, settings, modules=request.keeps_modules)
    check_model(facts, settings)
    return facts, delivered


def _start(request: JobRequest | PlanRequest, facts: ModelFacts | None, earlier: EarlierJobs | None) -> Start | None:
    if request.recovery.from_ is None or earlier is None:
        return None
    if facts is None:  # whether it is that job's model cannot be told
        raise _unknown(request)
    return earlier.start(request, facts)


def _unknown(request: JobRequest | PlanRequest) -> LayercutError:
    message = f"the model hub did not answer for {request.model.id!r}; try again later"
    return LayercutError("hub_unavailable", message, param="/model")


def _searched(
    request: PlanRequest, facts: ModelFacts, delivered: Delivered | None, unknown: Plan, importance: KnownImportance
) -> Plan:
    """The plan of `auto`, as far as the brackets that jobs have run can tell."""
    spec = request.prune
    objective = objective_of(spec, facts)
    known = importance.brackets(request, facts, delivered, by_retention=objective.min_retention is not None)
    brackets = {drop: bracket for drop, (bracket, _) in known.items()}

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
    return made.model_copy(update={"measured_by": known[chosen][1]})
