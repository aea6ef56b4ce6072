"""Jobs: create, list, get, cancel."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from api_schemas.jobs import Job, JobList, JobPreview, Status
from api_schemas.requests import JobRequest
from api_schemas.resolved import ResolvedRequest
from service.admission import REFUSALS, admit
from service.bodies import JsonBody, validated
from service.callers import Own, Who
from service.negotiation import wait_seconds
from service.openapi import BODY, json_body, problems
from service.state import State

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

MAX_PAGE = 100

METADATA = re.compile(r"metadata\[(.+)\]")

METADATA_FILTER = {
    "name": "metadata",
    "in": "query",
    "style": "deepObject",
    "explode": True,
    "description": "only jobs with these pairs, as in metadata[team]=search",
    "schema": {"type": "object", "additionalProperties": {"type": "string"}},
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
        **problems(*BODY, *REFUSALS),
    },
    openapi_extra=json_body(JobRequest, prune_and_distill=EXAMPLE),
)
def create_job(
    body: JsonBody,
    state: State,
    who: Who,
    own: Own,
    response: Response,
    *,
    validate_only: Annotated[bool, Query(description="check and resolve, and store nothing")] = False,
) -> Job | Response:
    """Ask for a compression. What can be seen to fail is refused now; what fails later is the job's `error`."""
    request = validated(JobRequest, body)
    who.check_priority(request.priority)
    resolved = admit(request, state.settings)
    if validate_only:
        return JSONResponse(_preview(request, body, resolved).model_dump(mode="json"))
    job = shown(own.create(request, body, resolved))
    state.wakeups.wake()
    response.headers["Location"] = job.urls["self"]
    return job


@router.get("", responses=problems("invalid_cursor"), openapi_extra={"parameters": [METADATA_FILTER]})
def list_jobs(
    request: Request,
    own: Own,
    *,
    after: Annotated[str | None, Query(description="`next_cursor` of the page before")] = None,
    limit: Annotated[int, Query(description="1 to 100; what lies outside is brought inside")] = 20,
    status: Status | None = None,
    task: str | None = None,
    model: str | None = None,
) -> JobList:
    """Your jobs, newest first."""
    pairs = [(METADATA.fullmatch(name), value) for name, value in request.query_params.items()]
    metadata = {found[1]: value for found, value in pairs if found}
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
        str | None, Header(description="`wait=N`: answer when something changes, or after N seconds")
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


def _preview(request: JobRequest, sent: dict[str, Any], resolved: ResolvedRequest) -> JobPreview:
    return JobPreview(
        model=request.model.id,
        task=request.task.label,
        priority=request.priority,
        request=sent,
        resolved=resolved,
        metadata=request.metadata,
    )
