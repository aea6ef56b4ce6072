"""Jobs: create, list, get, cancel."""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from api_schemas.errors import LayercutError
from api_schemas.jobs import Job, JobList, JobPreview, Status
from api_schemas.request_parts import Whole
from api_schemas.requests import JobRequest
from api_schemas.resolved import ResolvedRequest
from service.admission import REFUSALS, admit
from service.bodies import JsonBody, validated
from service.callers import Caller, Own, Who
from service.ceilings import check_queue, under_ceilings
from service.edge.disconnects import gone
from service.negotiation import wait_seconds
from service.openapi import BODY, json_body, problems
from service.state import GatewayState, State
from store.jobs import JobStore

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

MAX_PAGE = 100

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
        **problems(*BODY, *REFUSALS, "queue_full", "storage_full"),
    },
    openapi_extra=json_body(JobRequest, prune_and_distill=EXAMPLE),
)
async def create_job(
    body: JsonBody,
    state: State,
    who: Who,
    own: Own,
    response: Response,
    *,
    incoming: Request,
    validate_only: Annotated[bool, Query(description="check and resolve, and store nothing")] = False,
) -> Job | Response:
    """Ask for a compression. What can be seen to fail is refused now; what fails later is the job's `error`."""
    if not validate_only:
        await state.probes.disk.answer()
    leaves = partial(gone, incoming)
    request, resolved = await state.admissions.run(who.holder.tenant, leaves, _admit, body, state, who)
    if validate_only:
        return JSONResponse(_preview(request, body, resolved).model_dump(mode="json"))
    job = shown(await run_in_threadpool(_queue, state, own, request, body, resolved))
    response.headers["Location"] = job.urls["self"]
    return job


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
    status: Status | None = None,
    task: Annotated[str | None, Query(max_length=4096)] = None,
    model: Annotated[str | None, Query(max_length=500)] = None,
) -> JobList:
    """Your jobs, newest first."""
    metadata = _metadata(request)
    jobs, has_more = own.list(
        after=after,
        limit=min(max(limit, 1), MAX_PAGE),
        status=status,
        task=task,
        model=model,
        metadata=metadata or None,
    )
    return JobList(
        data=[shown(job) for job in jobs], has_more=has_more, next_cursor=jobs[-1].id if jobs and has_more else None
    )


@router.get("/{job_id}", responses=problems("job_not_found"))
async def get_job(
    job_id: str,
    state: State,
    own: Own,
    response: Response,
    prefer: Annotated[
        str | None, Header(max_length=8192, description="`wait=N`: answer when something changes, or after N seconds")
    ] = None,
) -> Job:
    """One job."""
    seconds = wait_seconds(prefer)
    if seconds:
        await state.feed.changed(own, job_id, seconds)
        response.headers["Preference-Applied"] = f"wait={seconds:.0f}"
    return shown(await run_in_threadpool(own.get, job_id))


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


def shown(job: Job) -> Job:
    """``job`` with its addresses."""
    base = f"/v1/jobs/{job.id}"
    urls = {name: f"{base}/{name}" for name in ("events", "cancel", "report", "files", "download")}
    return job.model_copy(update={"urls": {"self": base, **urls}})


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


def _admit(body: dict[str, Any], state: GatewayState, who: Caller) -> tuple[JobRequest, ResolvedRequest]:
    request = under_ceilings(validated(JobRequest, body), state.settings)
    who.check_priority(request.priority)
    return request, admit(request, state.settings)


def _queue(
    state: GatewayState, own: JobStore, request: JobRequest, sent: dict[str, Any], resolved: ResolvedRequest
) -> Job:
    check_queue(state)
    job = own.create(request, sent, resolved)
    state.wakeups.wake()
    return job


def _preview(request: JobRequest, sent: dict[str, Any], resolved: ResolvedRequest) -> JobPreview:
    return JobPreview(
        model=request.model.id,
        task=request.task.label,
        priority=request.priority,
        request=sent,
        resolved=resolved,
        metadata=request.metadata,
    )
