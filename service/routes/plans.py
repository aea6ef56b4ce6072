"""Plans: what a strategy does to a model, without a GPU and without a job."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

from fastapi import APIRouter, Request

from api_schemas.previews import PlanAnswer
from api_schemas.requests import PlanRequest
from service.admission import REFUSALS, plan
from service.bodies import JsonBody, validated
from service.callers import Caller, Who
from service.edge.disconnects import gone
from service.estimates import expected_of_plan
from service.openapi import BODY, json_body, problems
from service.state import GatewayState, State
from sources.blocks import Stopped
from store.workers import LIVING_SECONDS

router = APIRouter(prefix="/v1/plans", tags=["plans"])

EXAMPLE = {"model": "google-bert/bert-base-uncased", "prune": {"strategy": "symmetric", "drop_ratio": 0.5}}


@router.post(
    "",
    responses=problems(*BODY, *REFUSALS),
    openapi_extra=json_body(PlanRequest, half=EXAMPLE),
)
async def create_plan(body: JsonBody, request: Request, state: State, who: Who) -> PlanAnswer:
    """Layers kept and dropped, parameters, bytes, expected speed-up and warnings. Nothing is stored.

    Strategies that rank layers are answered from what a job has measured, and `auto` from its search; `measured_by`
    names it. `estimate` is what a job of it would take.
    """
    answered, leaves = threading.Event(), partial(gone, request)
    try:
        return await state.admissions.run(who.holder.tenant, leaves, _plan, body, state, who, answered.is_set)
    finally:
        answered.set()  # where the time is over, or nobody waits: hashing ends, and its thread comes back


def _plan(body: dict[str, Any], state: GatewayState, who: Caller, stopped: Stopped) -> PlanAnswer:
    known = state.importance.of(who.holder.tenant, who.holder.pool, stopped)
    with state.named_sources(who.actor) as named:
        found = plan(validated(PlanRequest, body), state.settings, known, named)
        takes, why_not = expected_of_plan(*found, state.workers.list(LIVING_SECONDS, None), named.settings)
    return PlanAnswer(**dict(found.plan), estimate=takes, no_estimate=why_not)
