"""`/ui/studies/new`: the form of a study, and of cells that are added to one. A script counts as one types."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

from api_schemas.tenants import Scope
from service.callers import Caller, Who
from service.edge.disconnects import gone
from service.edge.root_path import address
from service.pages import study_form
from service.pages.asking_jobs import own_of, tried
from service.pages.environment import page
from service.pages.fields import RIGHT, Body, Wrong
from service.pages.refusals import PageRoute
from service.pages.views import choices
from service.pages.views.studies import PreviewView, preview_view
from service.pages.visits import Form, Sent
from service.state import GatewayState, State
from service.studies import asked
from service.studies.feeding import feed_quietly

router = APIRouter(prefix="/ui/studies", route_class=PageRoute, include_in_schema=False)

#: Of the lists, which must say something before anything can be counted.
NEEDED = ("models", "drops")


@router.get("/new")
async def new_study(request: Request, state: State, who: Who) -> Response:
    """Empty, or filled in from a study (`?from=`)."""
    if not who.holder.scope.covers(Scope.SUBMIT):
        return page(request, "studies/new.html", active="studies", form=None, study=None)
    study_id, form, preview = request.query_params.get("from"), Form((("strategies", "top"), ("seeds", "42"))), None
    if study_id:
        rows = await run_in_threadpool(state.studies.of(who.actor).get, study_id)
        form = study_form.form_of(rows.request)
        preview, _, _ = await tried(partial(_preview, request, state, who, study_form.request_of(form)), ())
    return await _page(request, state, who, form, preview=preview)


@router.post("/new/preview")
async def preview_study(request: Request, state: State, who: Who, form: Sent) -> Response:
    """What the form would become: a part of the page, for a script."""
    preview, wrong = None, RIGHT
    if all(form.get(name) for name in NEEDED) and (form.all("tasks") or form.get("dataset")):
        look = partial(_preview, request, state, who, study_form.request_of(form))
        preview, wrong, _ = await tried(look, study_form.PLACES)
    return page(
        request, "studies/answer.html", active="studies", preview=preview, wrong=wrong, names=study_form.ANSWERED
    )


@router.post("/new")
async def create_study(request: Request, state: State, who: Who, form: Sent) -> Response:
    """Make the study; with `act=plan`, only show what it would be."""
    if form.get("act") == "plan":
        look = partial(_preview, request, state, who, study_form.request_of(form))
        preview, wrong, status = await tried(look, study_form.PLACES)
        return await _page(request, state, who, form, preview=preview, wrong=wrong, status=status)

    async def make() -> str:
        return await _made(request, state, who, study_form.request_of(form))

    study_id, wrong, status = await tried(make, study_form.PLACES)
    if study_id is None:
        return await _page(request, state, who, form, wrong=wrong, status=status)
    return _to(state, study_id)


@router.get("/{study_id}/cells")
async def more_cells(study_id: str, request: Request, state: State, who: Who) -> Response:
    """The lists of the study, to be changed: cells that it has already change nothing."""
    who.needs(Scope.SUBMIT, "to add cells")
    rows = await run_in_threadpool(state.studies.of(who.actor).get, study_id)
    return await _page(request, state, who, study_form.form_of(rows.request), study=rows)


@router.post("/{study_id}/cells")
async def add_cells(study_id: str, request: Request, state: State, who: Who, form: Sent) -> Response:
    rows = await run_in_threadpool(state.studies.of(who.actor).get, study_id)

    async def add() -> str:
        await state.probes.disk.answer()
        tenant, body = who.holder.tenant, study_form.lists_of(form)
        leaves = partial(gone, request)
        new = await state.admissions.run(tenant, leaves, asked.more_cells, study_id, body, state, who)
        return (await run_in_threadpool(state.studies.of(who.actor).add, study_id, new)).id

    added, wrong, status = await tried(add, study_form.PLACES)
    if added is None:
        return await _page(request, state, who, form, wrong=wrong, status=status, study=rows)
    return _to(state, study_id)


async def _preview(request: Request, state: GatewayState, who: Caller, body: Body) -> PreviewView:
    leaves = partial(gone, request)
    return preview_view(await state.admissions.run(who.holder.tenant, leaves, asked.preview, body, state, who))


async def _made(request: Request, state: GatewayState, who: Caller, body: Body) -> str:
    await state.probes.disk.answer()
    leaves = partial(gone, request)
    new = await state.admissions.run(who.holder.tenant, leaves, asked.new_study, body, state, who)
    return (await run_in_threadpool(state.studies.of(who.actor).create, new)).id


def _to(state: GatewayState, study_id: str) -> Response:
    """Its page; its first jobs are queued once that is said."""
    response = RedirectResponse(address(f"/ui/studies/{study_id}"), 303)
    response.background = BackgroundTask(feed_quietly, state, study_id)
    return response


async def _page(
    request: Request, state: GatewayState, who: Caller, form: Form, *, preview: PreviewView | None = None,
    wrong: Wrong = RIGHT, status: int = 200, study: Any = None,
) -> Response:  # fmt: skip
    own = await run_in_threadpool(own_of, state, who)
    return page(
        request, "studies/new.html", active="studies", status=status, form=form, preview=preview, wrong=wrong,
        own=own, choices=choices, study=study, most=state.settings.max_study_cells,
    )  # fmt: skip
