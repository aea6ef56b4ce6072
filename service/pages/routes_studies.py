"""`/ui/studies`: many jobs that were asked for at once, how far they are, and their table."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

from api_schemas.errors import LayercutError
from api_schemas.studies.pick import picks_of
from service.callers import Who
from service.edge.root_path import address
from service.pages import study_form
from service.pages.environment import page
from service.pages.refusals import OF_SCRIPT, PageRoute
from service.pages.study_figures import study_figures
from service.pages.views.studies import Asked, drawn_rows, pick_view, studies_view, study_view
from service.pages.views.study_rows import is_sort
from service.pages.visits import Sent
from service.problems import told_of
from service.state import State
from service.studies import asked as asking
from service.studies.feeding import feed_quietly
from service.studies.reading import list_studies as read_studies
from service.studies.reading import read_study

router = APIRouter(prefix="/ui/studies", route_class=PageRoute, include_in_schema=False)

#: Studies of a page of the list.
PAGE = 20

Text = Annotated[str, Query(max_length=4096)]
#: Parts of the page that a script looks at again.
PARTS = {"progress": "studies/progress.html", "results": "studies/results.html"}


@router.get("")
def list_studies(request: Request, state: State, who: Who, *, after: Text = "") -> Response:
    found = read_studies(state, who.actor, after or None, PAGE)
    template = "studies/list_table.html" if OF_SCRIPT in request.headers else "studies/list.html"
    return page(request, template, active="studies", studies=studies_view(found, after))


@router.get("/{study_id}")
async def show_study(
    study_id: str, request: Request, state: State, who: Who, *,
    model: Text = "", task: Text = "", sort: Text = "", at: Annotated[int, Query(alias="page", ge=1, le=10**6)] = 1,
    min_retention: Annotated[float | None, Query(ge=0, le=2)] = None, sure: bool = False, part: Text = "",
) -> Response:  # fmt: skip
    """All of it; a script that looks again asks for a ``part``."""
    if sort and not is_sort(sort):
        raise LayercutError("validation_failed", "sort is the name of a column, with a minus before it to turn it")
    wanted = Asked(model, task, sort, at, min_retention, sure)
    study = await run_in_threadpool(read_study, state, who.actor, study_id)
    view = study_view(study, wanted)
    drawn = drawn_rows(study.table, wanted)
    part = part if OF_SCRIPT in request.headers else ""
    of_figure = {name: value for name, value in (("model", drawn.model), ("task", drawn.task)) if value}
    query = f"?{urlencode(of_figure)}" if of_figure else ""
    figures = [] if part == "progress" else await study_figures(state, who, study_id, drawn, query)
    picks = None
    if min_retention is not None and not part:
        picks = [pick_view(one) for one in picks_of(study.table, min_retention, sure=sure)]
    return page(
        request, PARTS.get(part, "studies/show.html"), active="studies", study=view, figures=figures, again=bool(part),
        drawn_note=drawn.note, picks=picks, path=f"/ui/studies/{study_id}",
    )  # fmt: skip


@router.post("/{study_id}/cancel")
def cancel(study_id: str, state: State, who: Who, form: Sent) -> Response:
    state.studies.of(who.actor).cancel(study_id)
    return _back(study_id)


@router.post("/{study_id}/resume")
def resume(study_id: str, state: State, who: Who, form: Sent) -> Response:
    try:
        wanted = asking.resume(study_form.budget_of(form))
    except RequestValidationError as error:
        message, _ = told_of(error)
        raise LayercutError("validation_failed", message) from None
    state.studies.of(who.actor).resume(study_id, wanted)
    response = _back(study_id)
    response.background = BackgroundTask(feed_quietly, state, study_id)
    return response


@router.post("/{study_id}/delete")
def delete(study_id: str, state: State, who: Who, form: Sent) -> Response:
    """With ``jobs``, its own jobs too."""
    state.studies.of(who.actor).delete(study_id, with_jobs=bool(form.get("with_jobs")))
    return RedirectResponse(address("/ui/studies"), 303)


def _back(study_id: str) -> Response:
    return RedirectResponse(address(f"/ui/studies/{study_id}"), 303)
