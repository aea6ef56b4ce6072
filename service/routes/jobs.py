"""Jobs: create, list, get, cancel, ask for again, delete."""

from __future__ import annotations

import re
import time
from collections import Counter
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from api_schemas.errors import LayercutError
from api_schemas.jobs import Job, JobList, JobsCancelled, JobsToCancel, Status
from api_schemas.previews import JobPreview
from api_schemas.request_parts import Moment, Whole
from api_schemas.requests import JobRequest
from api_schemas.resolved import ResolvedRequest
from api_schemas.webhook_requests import without_secrets
from service.admission import REFUSALS, admit
from service.asking import allowed, check_delivery
from service.bodies import JsonBody, validated
from service.callers import Caller, Own, Who
from service.ceilings import check_queue
from service.edge.disconnects import gone
from service.estimates import expected_of_job
from service.idempotency import PARAMETER, accepted_once
from service.idempotency import REFUSALS as REPEATED
from service.named_sources import NamedSources
from service.negotiation import wait_seconds
from service.openapi import BODY, json_body, problems
from service.shown import shown
from service.state import GatewayState, State
from service.webhooks.addresses import Policy, check
from store.jobs import JobStore, Within
from store.listing import JobFilter
from store.workers import LIVING_SECONDS

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

#: What was asked for, and what will be done.
Admitted = tuple[JobRequest, ResolvedRequest]

MAX_PAGE = 100

#: Jobs that one call cancels, and one transaction of it.
MAX_CANCELLED, CANCELLED_AT_ONCE = 1000, 100

#: For the schema alone: what is none is an invalid cursor.
JOB_ID: dict[str, Any] = {"pattern": "^job_[0-9a-hjkmnp-tv-z]{24}$", "maxLength": 28}

#: Of a job: pairs, and characters of a value.
MAX_METADATA, MAX_METADATA_VALUE = 16, 512

METADATA = re.compile(r"metadata\[(.{1,64})\]", re.DOTALL)

METADATA_FILTER = {
    "name": "metadata",
    "in": "query",
    "style": "deepObject",
    "explode": True,
    "description": "only jobs with these pairs, as in metadata[team]=search",
    "schema": {
        "type": "object",
        "maxProperties": MAX_METADATA,
        "propertyNames": {"pattern": "^[^\\u0000]{1,64}$", "maxLength": 64},
        "additionalProperties": {"type": "string", "pattern": "^[^\\u0000]*$", "maxLength": MAX_METADATA_VALUE},
    },
}

#: Any.
NO_STATUS: list[Status] = []

CANCEL_EXAMPLE = {"status": ["queued"], "metadata": {"team": "search"}}

EXAMPLE = {
    "model": "google-bert/bert-base-uncased",
    "task": "sst2",
    "prune": {"strategy": "top", "drop": 4},
    "recovery": {"method": "distill", "epochs": 3},
    "metadata": {"team": "search"},
}


@router.post(
    "",
    status_code=202,
    response_model=Job,
    responses={
        202: {"headers": {"Location": {"schema": {"type": "string"}, "description": "the job's address"}}},
        200: {"model": JobPreview, "description": "with validate_only: what the job would be; nothing is stored"},
        **problems(
            *BODY, *REFUSALS, *REPEATED, "queue_full", "storage_full", "webhook_not_allowed", "push_not_allowed"
        ),
    },
    openapi_extra={**json_body(JobRequest, prune_and_distill=EXAMPLE), "parameters": [PARAMETER]},
)
async def create_job(
    body: JsonBody,
    state: State,
    who: Who,
    own: Own,
    *,
    incoming: Request,
    validate_only: Annotated[bool, Query(description="check, resolve and estimate, and store nothing")] = False,
) -> Response:
    """Ask for a compression. What can be seen to fail is refused now; what fails later is the job's `error`."""
    tenant = who.holder.tenant

    leaves = partial(gone, incoming)
    if validate_only:
        preview = await state.admissions.run(tenant, leaves, preview_job, body, state, who)
        return JSONResponse(preview.model_dump(mode="json"))

    async def look() -> Admitted:
        return await state.admissions.run(tenant, leaves, admitted_job, body, state, who)

    async def create(within: Within | None) -> Job:
        await state.probes.disk.answer()
        return await run_in_threadpool(queue_job, state, own, body, await look(), within)

    return await accepted_once(incoming, state, body, create)


@router.get("", responses=problems("invalid_cursor"), openapi_extra={"parameters": [METADATA_FILTER]})
def list_jobs(
    request: Request,
    own: Own,
    *,
    after: Annotated[
        str | None,
        Query(description="`next_cursor` of the page before", json_schema_extra=JOB_ID),
    ] = None,
    limit: Annotated[Whole, Query(description="1 to 100; what lies outside is brought inside")] = 20,
    status: Annotated[list[Status], Query(max_length=10, description="given more than once: any of them")] = NO_STATUS,
    task: Annotated[str | None, Query(max_length=4096, description="only jobs with this task")] = None,
    model: Annotated[str | None, Query(max_length=4096, description="only jobs of this model")] = None,
    created_after: Annotated[Moment | None, Query(description="RFC 3339, as are all times")] = None,
    created_before: Annotated[Moment | None, Query(description="only jobs made before then")] = None,
    study: Annotated[str | None, Query(max_length=64, description="only jobs that this study asked for")] = None,
) -> JobList:
    """Your jobs, newest first."""
    wanted = JobFilter(
        statuses=status,
        task=task,
        model=model,
        metadata=_metadata(request),
        created_after=created_after,
        created_before=created_before,
        study=study,
    )
    jobs, has_more = own.list(wanted, after=after, limit=min(max(limit, 1), MAX_PAGE))
    return JobList(
        data=[shown(job) for job in jobs], has_more=has_more, next_cursor=jobs[-1].id if jobs and has_more else None
    )


@router.get("/{job_id}", response_model=Job, responses=problems("job_not_found"))
async def get_job(
    job_id: str,
    request: Request,
    prefer: Annotated[
        str | None, Header(max_length=8192, description="`wait=N`: answer when something changes, or after N seconds")
    ] = None,
) -> Response:
    """One job."""
    state: GatewayState = request.app.state.gateway
    caller: Caller = request.state.caller
    headers = {}
    if seconds := wait_seconds(prefer):
        began = time.perf_counter()
        await state.feed.changed(state.store.of(caller.actor), job_id, seconds)
        request.state.waited = time.perf_counter() - began
        headers["Preference-Applied"] = f"wait={seconds:.0f}"
    job = shown(await state.reads.get(job_id, caller.actor.tenant))
    # Made here: FastAPI would check once more what has been read as a Job, and each dependency costs tens of µs.
    return Response(job.model_dump_json(), media_type="application/json", headers=headers)


@router.post(
    "/{job_id}/cancel",
    response_model=Job,
    responses={
        202: {"model": Job, "description": "a worker has the job and was told to stop"},
        **problems("job_not_found", "job_already_terminal"),
    },
)
def cancel_job(job_id: str, own: Own, response: Response) -> Job:
    """Cancel a job: at once in the queue, else as soon as its worker has stopped. Asking twice changes nothing."""
    job = shown(own.cancel(job_id))
    response.status_code = 202 if job.status is Status.CANCELLING else 200
    return job


@router.post(
    "/{job_id}/retry",
    status_code=202,
    response_model=Job,
    responses=problems(
        "job_not_found",
        "job_not_terminal",
        "job_not_retryable",
        "job_in_use",
        "quota_exceeded",
        "queue_full",
        *REPEATED,
    ),
    openapi_extra={"parameters": [PARAMETER]},
)
async def retry_job(job_id: str, state: State, own: Own, *, incoming: Request) -> Response:
    """Queue a job again that failed or was cancelled. It goes on from its last checkpoint, with all its attempts."""

    async def retry(within: Within | None) -> Job:
        return await run_in_threadpool(queue_again, state, own, job_id, within)

    return await accepted_once(incoming, state, None, retry)


@router.delete(
    "/{job_id}",
    status_code=204,
    response_class=Response,
    responses=problems("job_not_found", "job_not_terminal", "job_in_use"),
)
def delete_job(job_id: str, own: Own) -> None:
    """Delete a job that has ended: its files, events, logs and row. Asking twice changes nothing."""
    own.delete(job_id)


@router.post("/cancel", responses=problems(*BODY), openapi_extra=json_body(JobsToCancel, of_a_team=CANCEL_EXAMPLE))
def cancel_jobs(body: JsonBody, own: Own) -> JobsCancelled:
    """Cancel all jobs of a filter that have not ended, at most 1000 a call: `has_more` says whether to call again."""
    asked = validated(JobsToCancel, body)
    wanted = JobFilter(
        statuses=[Status(status) for status in asked.status or ()],
        task=asked.task,
        model=asked.model,
        metadata=asked.metadata or {},
        created_after=asked.created_after,
        created_before=asked.created_before,
        ids=asked.ids,
    )
    became: Counter[Status] = Counter()
    has_more = True
    while has_more and became.total() < MAX_CANCELLED:
        some, has_more = own.cancel_some(wanted, CANCELLED_AT_ONCE)
        became += some
    return JobsCancelled(
        matched=became.total(),
        cancelled=became[Status.CANCELLED],
        cancelling=became[Status.CANCELLING],
        has_more=has_more,
    )


def _metadata(request: Request) -> dict[str, str]:
    """The pairs that jobs must have; as many as a job can have at most."""
    asked = [(name, value) for name, value in request.query_params.multi_items() if name.startswith("metadata")]
    pairs = [(METADATA.fullmatch(name), value) for name, value in asked]
    metadata = {found[1]: value for found, value in pairs if found}
    longest = max(map(len, metadata.values()), default=0)
    if len(metadata) < len(asked) or len(asked) > MAX_METADATA or longest > MAX_METADATA_VALUE:
        text = (
            f"a filter is metadata[key]=value, each key once, {MAX_METADATA} at most, and a value of at most"
            f" {MAX_METADATA_VALUE} characters: a job has no more"
        )
        raise LayercutError("validation_failed", text, param="metadata")
    return metadata


def admitted_job(body: dict[str, Any], state: GatewayState, who: Caller) -> Admitted:
    """What a job of ``body`` would do; raises what it would be refused with. For a thread that may look at models."""
    with state.named_sources(who.actor) as named:
        return _admit(body, state, who, named)


def _admit(body: dict[str, Any], state: GatewayState, who: Caller, named: NamedSources) -> Admitted:
    request = allowed(validated(JobRequest, body), state.settings, who)
    if request.webhook is not None:
        check(
            request.webhook.url,
            Policy.of(state.settings),
            "/webhook/url" if isinstance(body["webhook"], dict) else "/webhook",
        )
    with state.tracing.span("admission", who.actor.traceparent):
        resolved = admit(request, state.settings, named)
        check_delivery(request.export, state)
    return request, resolved


def queue_job(
    state: GatewayState, own: JobStore, sent: dict[str, Any], admitted: Admitted, within: Within | None
) -> Job:
    """Store it, and wake a worker."""
    check_queue(state)
    request, resolved = admitted
    key = "" if request.webhook is None else state.signer.fingerprint
    job = own.create(request, sent, resolved, within, key_fingerprint=key)
    state.wakeups.wake()
    return job


def queue_again(state: GatewayState, own: JobStore, job_id: str, within: Within | None = None) -> Job:
    """Retry a job, where the queue has room."""
    check_queue(state)
    job = own.retry(job_id, within)
    state.wakeups.wake()
    return job


def preview_job(sent: dict[str, Any], state: GatewayState, who: Caller) -> JobPreview:
    """As ``admitted_job``, with what it would take."""
    with state.named_sources(who.actor) as named:
        request, resolved = _admit(sent, state, who, named)
        takes, why_not = expected_of_job(resolved, state.workers.list(LIVING_SECONDS, None), named.settings)
    return JobPreview(
        model=request.model.id,
        task=request.task.label,
        priority=request.priority,
        request=without_secrets(sent),
        resolved=resolved.without_places,
        metadata=request.metadata,
        estimate=takes,
        no_estimate=why_not,
    )
