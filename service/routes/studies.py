"""Studies: many jobs asked for at once, and the table that they make."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

from api_schemas.request_parts import Whole
from api_schemas.studies.pick import picks_of
from api_schemas.studies.request import MoreCells, ResumeStudy, StudyRequest
from api_schemas.studies.shown import PickList, Study, StudyList, StudyPreview
from service.admission import REFUSALS
from service.bodies import JsonBody
from service.callers import Who
from service.edge.disconnects import gone
from service.edge.root_path import address
from service.idempotency import PARAMETER, Answering, answered_once
from service.idempotency import REFUSALS as REPEATED
from service.negotiation import Accept, preferred
from service.openapi import BODY, json_body, problems
from service.state import GatewayState, State
from service.studies import asked
from service.studies.feeding import feed_quietly
from service.studies.reading import list_studies as read_studies
from service.studies.reading import read_study, shown, workers_of
from service.studies.texts import FORMS, written
from store.studies import Within
from store.study_rows import StudyRows

router = APIRouter(prefix="/v1/studies", tags=["studies"])

MAX_PAGE = 100

#: For the schema alone: what is none is an invalid cursor.
STUDY_ID: dict[str, Any] = {"pattern": "^study_[0-9a-hjkmnp-tv-z]{24}$", "maxLength": 30}

EXAMPLE = {
    "name": "where to cut",
    "models": ["google-bert/bert-base-uncased"],
    "tasks": ["rte", "mrpc"],
    "strategies": ["top", "bottom", "symmetric"],
    "drops": [2, 4, 6],
    "seeds": [1, 2, 3],
}
MORE_EXAMPLE = {"models": ["google-bert/bert-base-uncased"], "tasks": ["sst2"], "drops": [4]}
RESUME_EXAMPLE = {"budget": {"jobs": 20}, "retry_failed": True}

TEXT: dict[str, Any] = {"schema": {"type": "string"}}
ACCEPTED = {"headers": {"Location": {"schema": {"type": "string"}, "description": "the study's address"}}}
ASKED = ("study_too_large", "cells_impossible", "queue_full", "storage_full", "push_not_allowed")


@router.post(
    "",
    status_code=202,
    response_model=Study,
    responses={
        202: ACCEPTED,
        200: {"model": StudyPreview, "description": "with validate_only: what the study would be; nothing is stored"},
        **problems(*BODY, *REFUSALS, *REPEATED, *ASKED),
    },
    openapi_extra={**json_body(StudyRequest, small=EXAMPLE), "parameters": [PARAMETER]},
)
async def create_study(
    body: JsonBody,
    state: State,
    who: Who,
    *,
    incoming: Request,
    validate_only: Annotated[bool, Query(description="check, count and estimate, and store nothing")] = False,
) -> Response:
    """Ask for every combination of the lists. Cells that cannot be are told now; the others become jobs, a window at a
    time. What earlier jobs of studies have done already is not done again.
    """
    tenant, leaves = who.holder.tenant, partial(gone, incoming)
    if validate_only:
        preview = await state.admissions.run(tenant, leaves, asked.preview, body, state, who)
        return JSONResponse(preview.model_dump(mode="json"))

    async def create(within: Within | None) -> StudyRows:
        await state.probes.disk.answer()
        new = await state.admissions.run(tenant, leaves, asked.new_study, body, state, who)
        return await run_in_threadpool(state.studies.of(who.actor).create, new, within)

    return await _answered(incoming, state, body, create)


@router.get("", responses=problems("invalid_cursor"))
def list_studies(
    state: State,
    who: Who,
    *,
    after: Annotated[
        str | None, Query(description="`next_cursor` of the page before", json_schema_extra=STUDY_ID)
    ] = None,
    limit: Annotated[Whole, Query(description="1 to 100; what lies outside is brought inside")] = 20,
) -> StudyList:
    """Your studies, newest first, without their tables."""
    return read_studies(state, who.actor, after, min(max(limit, 1), MAX_PAGE))


@router.get(
    "/{study_id}",
    response_model=Study,
    responses={
        200: {"content": {"text/csv": TEXT, "text/markdown": TEXT}},
        **problems("study_not_found", "not_acceptable"),
    },
)
def get_study(study_id: str, state: State, who: Who, accept: Accept = None) -> Response:
    """How far it is, and its table; as `text/csv` or `text/markdown`, the table alone."""
    form = preferred(accept, tuple(FORMS))
    text = written(state, who.actor, study_id, form)
    # Made here: FastAPI would check once more what has been read as a Study, thousands of cells.
    return Response(text, media_type=form, headers={"Vary": "Accept"})


@router.get(
    "/{study_id}/table.csv",
    response_class=Response,
    responses={200: {"content": {"text/csv": TEXT}}, **problems("study_not_found")},
)
def get_study_csv(study_id: str, state: State, who: Who) -> Response:
    """The table as CSV, a row a line."""
    return _file(state, who, study_id, "csv", "text/csv")


@router.get(
    "/{study_id}/table.md",
    response_class=Response,
    responses={200: {"content": {"text/markdown": TEXT}}, **problems("study_not_found")},
)
def get_study_markdown(study_id: str, state: State, who: Who) -> Response:
    """The table as Markdown."""
    return _file(state, who, study_id, "md", "text/markdown")


@router.get("/{study_id}/pick", responses=problems("study_not_found"))
def pick_jobs(
    study_id: str,
    state: State,
    who: Who,
    *,
    min_retention: Annotated[
        float, Query(ge=0, le=2, description="of the full model's score that is to be kept")
    ] = 0.98,
    sure: Annotated[bool, Query(description="by the low end of the interval, and not by the mean")] = False,
) -> PickList:
    """Which job to download: of each model and task the fastest that keeps enough."""
    found = picks_of(read_study(state, who.actor, study_id).table, min_retention, sure=sure)
    return PickList(
        data=[
            one.model_copy(update={"download": one.job_id and address(f"/v1/jobs/{one.job_id}/download")})
            for one in found
        ]
    )


@router.post("/{study_id}/cancel", response_model=Study, responses=problems("study_not_found", "study_ended"))
def cancel_study(study_id: str, state: State, who: Who) -> Response:
    """Cancel all that has not ended: what others had done is left alone. Asking twice changes nothing."""
    rows = state.studies.of(who.actor).cancel(study_id)
    return Response(shown(rows, workers_of(state)).model_dump_json(), media_type="application/json")


@router.post(
    "/{study_id}/resume",
    status_code=202,
    response_model=Study,
    responses={202: ACCEPTED, **problems(*BODY, *REPEATED, "study_not_found", "study_ended")},
    openapi_extra={**json_body(ResumeStudy, more=RESUME_EXAMPLE), "parameters": [PARAMETER]},
)
async def resume_study(study_id: str, body: JsonBody, state: State, who: Who, *, incoming: Request) -> Response:
    """Go on with what was not paid for or was cancelled, with a new budget or the same anew."""
    wanted = asked.resume(body)

    async def resume(within: Within | None) -> StudyRows:
        return await run_in_threadpool(state.studies.of(who.actor).resume, study_id, wanted, within)

    return await _answered(incoming, state, body, resume)


@router.post(
    "/{study_id}/cells",
    status_code=202,
    response_model=Study,
    responses={202: ACCEPTED, **problems(*BODY, *REFUSALS, *REPEATED, *ASKED, "study_not_found")},
    openapi_extra={**json_body(MoreCells, another_task=MORE_EXAMPLE), "parameters": [PARAMETER]},
)
async def add_study_cells(study_id: str, body: JsonBody, state: State, who: Who, *, incoming: Request) -> Response:
    """Add the cells of further lists; those that the study has already change nothing. A finished study goes on."""
    tenant, leaves = who.holder.tenant, partial(gone, incoming)

    async def add(within: Within | None) -> StudyRows:
        await state.probes.disk.answer()
        new = await state.admissions.run(tenant, leaves, asked.more_cells, study_id, body, state, who)
        own, most = state.studies.of(who.actor), state.settings.max_study_cells
        return await run_in_threadpool(partial(own.add, most=most), study_id, new, within)

    return await _answered(incoming, state, body, add)


@router.delete(
    "/{study_id}",
    status_code=204,
    response_class=Response,
    responses=problems("study_not_found", "study_not_ended", "job_in_use"),
)
def delete_study(
    study_id: str,
    state: State,
    who: Who,
    *,
    jobs: Annotated[bool, Query(description="delete its own jobs too, with their files")] = False,
) -> None:
    """Delete a study of which nothing is open. Its jobs stay, unless `jobs=true`."""
    state.studies.of(who.actor).delete(study_id, with_jobs=jobs)


async def _answered(incoming: Request, state: GatewayState, body: dict[str, Any], act: Any) -> Response:
    """The study that ``act`` makes or changes; its first jobs are queued once it is answered."""
    workers = await run_in_threadpool(workers_of, state)
    how = Answering[StudyRows](
        202, lambda rows: shown(rows, workers).model_dump(mode="json"), lambda found: str(found["urls"]["self"])
    )
    made: list[str] = []

    async def acted(within: Within | None) -> StudyRows:
        rows: StudyRows = await act(within)
        made.append(rows.id)
        return rows

    response = await answered_once(incoming, state, body, acted, how)
    if made:
        response.background = BackgroundTask(feed_quietly, state, made[0])
    return response


def _file(state: GatewayState, who: Who, study_id: str, ending: str, form: str) -> Response:
    text = written(state, who.actor, study_id, form)
    name = f"{study_id}.{ending}"
    return Response(text, media_type=form, headers={"Content-Disposition": f'attachment; filename="{name}"'})
