"""What a job would take here: on the kind of device that its workers have, by the speeds that they tell."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from api_schemas.architectures import ModelFacts
from api_schemas.delivered import Start
from api_schemas.errors import LayercutError
from api_schemas.estimates import Estimate, estimate
from api_schemas.plans import Plan
from api_schemas.recovery import resolve_recovery
from api_schemas.requests import EvaluationSpec, PlanRequest
from api_schemas.resolved import ResolvedRequest
from api_schemas.speeds import Speed
from api_schemas.stage_work import Asked
from api_schemas.workers import About, WorkerInfo
from service.settings import GatewaySettings
from sources.data_size import data_size

log = logging.getLogger("layercut.estimates")

NO_WORKER = "no worker is there now: this is for a CPU of two cores"
OLDER = "the workers that are there have told no speeds"
UNSEEN_MODEL = "the model could not be looked at yet: the hub did not answer"
NOT_COUNTED = "what the job would compute could not be worked out; the plan holds without it"

#: And why there is none.
Expected = tuple[Estimate | None, str | None]


def expected_of_job(resolved: ResolvedRequest, workers: Sequence[WorkerInfo], settings: GatewaySettings) -> Expected:
    """Of a job that was admitted."""
    if resolved.plan is None or resolved.recovery is None:
        return None, UNSEEN_MODEL
    asked = Asked(
        resolved.plan.model, resolved.task, resolved.prune, resolved.recovery, resolved.evaluation, resolved.plan,
        resolved.start,
    )  # fmt: skip
    return _expected(asked, workers, settings)


def expected_of_plan(
    request: PlanRequest, plan: Plan, start: Start | None, workers: Sequence[WorkerInfo], settings: GatewaySettings
) -> Expected:
    """Of a job that asks for the same, and for no more. ``start``: what ``recovery.from`` names."""
    facts: ModelFacts = plan.model
    recovery = resolve_recovery(request.recovery, facts, kind=request.task.task_kind)
    asked = Asked(facts, request.task, request.prune, recovery, EvaluationSpec(), plan, start)
    return _expected(asked, workers, settings)


def _expected(asked: Asked, workers: Sequence[WorkerInfo], settings: GatewaySettings) -> Expected:
    """Never raises: a plan that is right is answered without an estimate too."""
    try:
        return _worked_out(asked, workers, settings)
    except Exception as error:  # whatever it is, the plan is right
        log.exception("no estimate: %s", type(error).__name__)
        return None, NOT_COUNTED


def _worked_out(asked: Asked, workers: Sequence[WorkerInfo], settings: GatewaySettings) -> Expected:
    speed, notes = device_of([worker.about for worker in workers])
    try:
        data = data_size(asked.task, asked.recovery.text, settings) if asked.task.trains else None
    except LayercutError as error:
        return None, f"the data could not be looked at: {error.message}"
    return estimate(asked, data, speed, notes), None


def device_of(workers: Sequence[About | None]) -> tuple[Speed, tuple[str, ...]]:
    """The kind of device that most ``workers`` have, with the speeds of one that has measured most; and what to know
    of it.
    """
    known = [about for about in workers if about is not None]
    if not known:
        return Speed(device="cpu"), (OLDER if workers else NO_WORKER,)
    kinds = Counter((about.device, about.gpu_name) for about in known)
    kind = max(kinds, key=lambda kind: (kinds[kind], kind[0] == "cuda"))
    alike = [about.speeds for about in known if (about.device, about.gpu_name) == kind and about.speeds is not None]
    notes = []
    if len(kinds) > 1:
        others = ", ".join(sorted(name or device for device, name in kinds if (device, name) != kind))
        notes.append(f"of several kinds of device, this is for the one that most workers have; the others: {others}")
    if not alike:
        notes.append(OLDER)
    best = max(alike, key=lambda speeds: sum(rate.jobs for rate in speeds.rates), default=None)
    return Speed(device=kind[0], name=kind[1], speeds=best), tuple(notes)
