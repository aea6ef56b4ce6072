"""`/ui/new`: the form of a job. A script plans as one types; without it, a button does."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from api_schemas.errors import LayercutError
from api_schemas.tenants import Scope
from service.callers import Caller, Own, Who
from service.edge.root_path import address
from service.pages import job_form
from service.pages.asking_jobs import made, own_of, planned, tried
from service.pages.environment import page
from service.pages.fields import REST, RIGHT, Wrong
from service.pages.refusals import PageRoute
from service.pages.sent_files import SentFile
from service.pages.views import choices
from service.pages.views.plan import PlanView, plan_view
from service.pages.visits import Form, Sent
from service.state import GatewayState, State

router = APIRouter(prefix="/ui/new", route_class=PageRoute, include_in_schema=False)

#: Of one field that comes in an address.
LONGEST = 4096


@router.get("")
async def new_job(request: Request, state: State, who: Who, own: Own) -> Response:
    """Empty, or filled in: from a job (`?from=`), or with fields that stand in the address."""
    job_id = request.query_params.get("from")
    if job_id:
        job = await run_in_threadpool(own.get, job_id)
        form = job_form.form_of(job.request)
    else:
        job, form = None, _of_address(request)
    repeats = "" if job is None else job.id
    if not who.holder.scope.covers(Scope.SUBMIT):
        return page(request, "new/form.html", active="new", form=None)
    plan = None
    if form.get("model"):
        plan, _, _ = await tried(partial(_plan, request, state, who, form), ())
    return await _page(request, state, who, form, plan=plan, repeats=repeats)


@router.post("/plan")
async def plan_job(request: Request, state: State, who: Who, form: Sent) -> Response:
    """What the form would become: a part of the page, for a script."""
    plan, wrong = None, RIGHT
    if form.get("model"):
        plan, wrong, _ = await tried(partial(_plan, request, state, who, form), job_form.places_of(form))
    return page(request, "new/answer.html", active="new", plan=plan, wrong=wrong, names=job_form.ANSWERED)


@router.post("")
async def create_job(request: Request, state: State, who: Who, form: Sent) -> Response:
    """Make the job; with `act=plan`, only show what it would be."""
    places = job_form.places_of(form)
    if form.get("act") == "plan":
        plan, wrong, status = await tried(partial(_plan, request, state, who, form), places)
        return await _page(request, state, who, form, plan=plan, wrong=wrong, status=status)

    async def make() -> str:
        return (await made(request, state, who, job_form.request_of(form))).id

    job_id, wrong, status = await tried(make, places)
    if job_id is None:
        return await _page(request, state, who, form, wrong=wrong, status=status)
    return RedirectResponse(address(f"/ui/jobs/{job_id}"), 303)


@router.post("/file")
async def fill_in(request: Request, state: State, who: Who, file: SentFile) -> Response:
    """The form, filled in with a job file."""
    try:
        form, wrong, status = job_form.form_of(file.as_json()), RIGHT, 200
    except LayercutError as error:
        form, wrong, status = Form(()), Wrong({"file": error.message}, []), error.kind.status
    plan = None
    if form.get("model"):
        plan, wrong, _ = await tried(partial(_plan, request, state, who, form), job_form.places_of(form))
    return await _page(request, state, who, form, plan=plan, wrong=wrong, status=status)


async def _plan(request: Request, state: GatewayState, who: Caller, form: Form) -> PlanView:
    return plan_view(await planned(request, state, who, job_form.request_of(form)))


async def _page(
    request: Request, state: GatewayState, who: Caller, form: Form, *, plan: PlanView | None = None,
    wrong: Wrong = RIGHT, status: int = 200, repeats: str = "",
) -> Response:  # fmt: skip
    own = await run_in_threadpool(own_of, state, who)
    return page(
        request, "new/form.html", active="new", status=status, form=form, plan=plan, wrong=wrong, own=own,
        repeats=repeats, choices=choices,
    )  # fmt: skip


def _of_address(request: Request) -> Form:
    known = {*job_form.NAMES} - {REST}
    given = [(name, value) for name, value in request.query_params.multi_items() if name in known]
    if any(len(value) > LONGEST or "\0" in value for _, value in given):
        raise LayercutError("validation_failed", f"a field in the address has at most {LONGEST} characters")
    return Form(tuple(given))
