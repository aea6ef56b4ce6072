"""A job as a page asks for it: looked at, planned and made as ``POST /v1/jobs`` does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool

from api_schemas.errors import LayercutError
from api_schemas.jobs import Job
from api_schemas.previews import JobPreview
from api_schemas.uploads import UploadKind, UploadStatus
from service.callers import Caller
from service.edge.disconnects import gone
from service.pages.fields import Body, Wrong, wrong_of
from service.pages.views.choices import Own, own_choices
from service.problems import told_of
from service.routes.jobs import admitted_job, preview_job, queue_job
from service.state import GatewayState
from store.listing import JobFilter

R = TypeVar("R")
Places = Sequence[tuple[str, str]]

#: Of each kind, in a form's list of what one has.
MOST_LISTED = 50


async def planned(request: Request, state: GatewayState, who: Caller, body: Body) -> JobPreview:
    """Raises what the job would be refused with."""
    return await state.admissions.run(who.holder.tenant, partial(gone, request), preview_job, body, state, who)


async def made(request: Request, state: GatewayState, who: Caller, body: Body) -> Job:
    """Raises what it is refused with."""
    await state.probes.disk.answer()
    looked = partial(gone, request)
    admitted = await state.admissions.run(who.holder.tenant, looked, admitted_job, body, state, who)
    own = state.store.of(who.actor)
    return await run_in_threadpool(queue_job, state, own, body, admitted, None)


async def tried(act: Callable[[], Awaitable[R]], places: Places) -> tuple[R | None, Wrong, int]:
    """What ``act`` gives, or what is wrong with what it was given, by field, and the status that says so."""
    try:
        return await act(), Wrong({}, []), 200
    except (LayercutError, RequestValidationError) as error:
        message, errors = told_of(error)
        status = error.kind.status if isinstance(error, LayercutError) else 422
        return None, wrong_of(message, errors, places), status


def own_of(state: GatewayState, who: Caller) -> Own:
    """Asks the database."""
    uploads = state.uploads.of(who.actor)
    models, _ = uploads.list(UploadKind.MODEL, limit=MOST_LISTED)
    datasets, _ = uploads.list(UploadKind.DATASET, limit=MOST_LISTED)
    jobs, _ = state.store.of(who.actor).list(JobFilter(), after=None, limit=MOST_LISTED)
    ready = UploadStatus.READY
    return own_choices(
        [one for one in models if one.status is ready and one.object == "model"],
        [one for one in datasets if one.status is ready and one.object == "dataset"],
        jobs,
    )
