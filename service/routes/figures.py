"""Figures of jobs and studies, as SVG and PNG."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api_schemas.errors import LayercutError
from api_schemas.figures import FigureInfo, FigureList
from figures import Theme, jobs, studies
from service.callers import Who
from service.downloads import matches
from service.edge.root_path import address
from service.figures import Figure, job_figure, rendered, study_figure
from service.openapi import problems
from service.state import GatewayState, State
from service.studies.reading import read_study
from store.audit import Actor

of_jobs = APIRouter(prefix="/v1/jobs/{job_id}/figures", tags=["artifacts"])
of_studies = APIRouter(prefix="/v1/studies/{study_id}/figures", tags=["artifacts"])
routers = (of_jobs, of_studies)

#: An SVG that is opened by itself has a style of its own, and nothing else.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
MEDIA_TYPES = {"svg": "image/svg+xml", "png": "image/png"}

Themed = Annotated[Theme, Query(description="`auto` is light or dark as the reader's system is")]
Lit = Annotated[Theme, Query(description="a picture cannot tell which one is wanted: `auto` is light")]
Scale = Annotated[float, Query(ge=1, le=4, description="pixels for each of a figure that is 720 wide")]
OfModel = Annotated[str | None, Query(max_length=4096, description="only of this model; else a panel for each")]
OfTask = Annotated[str | None, Query(max_length=4096, description="only with this task; else a panel for each")]

EXAMPLE = {
    "object": "list",
    "data": [
        {
            "name": "layers", "title": "4 of 6 layers stay",
            "alt": "Layers 4 and 5 go, counted from 0 in the original model; 4 of 6 stay.",
            "svg": "/v1/jobs/job_06fmvrqmj6vk4rt4nbzc8qb8/figures/layers.svg",
            "png": "/v1/jobs/job_06fmvrqmj6vk4rt4nbzc8qb8/figures/layers.png", "missing": None,
        },
        {
            "name": "search", "title": None, "alt": None, "svg": None, "png": None,
            "missing": "this job searched for nothing: only the strategy `auto` tries several sizes",
        },
    ],
}  # fmt: skip
LISTED: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {"example": EXAMPLE}}}}


def drawn_as(form: str, missing: str) -> dict[int | str, dict[str, Any]]:
    kind: dict[str, Any] = {"schema": {"type": "string"} | ({"format": "binary"} if form == "png" else {})}
    return {
        200: {"content": {MEDIA_TYPES[form]: kind}, "description": "the figure; ETag is the sha256 of its bytes"},
        304: {"description": "If-None-Match has the figure's ETag"},
        **problems(missing, "figure_unavailable", "figures_not_installed", "storage_unavailable", "too_busy"),
    }


@of_jobs.get("", responses={**LISTED, **problems("job_not_found", "storage_unavailable")})
async def list_job_figures(job_id: str, state: State, who: Who) -> FigureList:
    """Which figures there are of a job, with words for each; and of those that there are not, what they need."""
    find = partial(job_figure, state, who.actor, job_id)
    return await run_in_threadpool(_listed, find, jobs.NAMES, address(f"/v1/jobs/{job_id}/figures"), "")


@of_jobs.head("/{name}.svg", include_in_schema=False)
@of_jobs.get("/{name}.svg", response_class=Response, responses=drawn_as("svg", "job_not_found"))
async def get_job_figure_svg(
    job_id: str, name: str, request: Request, state: State, who: Who, *, theme: Themed = "auto"
) -> Response:
    """A figure of a job: layers, before_and_after, curves or search."""
    figure = await run_in_threadpool(job_figure, state, who.actor, job_id, name)
    return await _answer(request, state, who.actor, figure, _Form("svg", theme))


@of_jobs.head("/{name}.png", include_in_schema=False)
@of_jobs.get("/{name}.png", response_class=Response, responses=drawn_as("png", "job_not_found"))
async def get_job_figure_png(
    job_id: str, name: str, request: Request, state: State, who: Who, *, theme: Lit = "light", scale: Scale = 2.0
) -> Response:
    """The same as a picture."""
    figure = await run_in_threadpool(job_figure, state, who.actor, job_id, name)
    return await _answer(request, state, who.actor, figure, _Form("png", theme, scale))


@of_studies.get("", responses={**LISTED, **problems("study_not_found")})
async def list_study_figures(
    study_id: str, request: Request, state: State, who: Who, *, model: OfModel = None, task: OfTask = None
) -> FigureList:
    """Which figures there are of a study, or of one model and task of it."""
    find = await run_in_threadpool(_of_study, state, who.actor, study_id, model, task)
    query = f"?{request.url.query}" if request.url.query else ""
    base = address(f"/v1/studies/{study_id}/figures")
    return await run_in_threadpool(_listed, find, studies.NAMES, base, query)


@of_studies.head("/{name}.svg", include_in_schema=False)
@of_studies.get("/{name}.svg", response_class=Response, responses=drawn_as("svg", "study_not_found"))
async def get_study_figure_svg(
    study_id: str, name: str, request: Request, state: State, who: Who, *,
    model: OfModel = None, task: OfTask = None, theme: Themed = "auto",
) -> Response:  # fmt: skip
    """A figure of a study: score_by_layers or pareto. Each point leads to its job."""
    find = await run_in_threadpool(_of_study, state, who.actor, study_id, model, task)
    figure = await run_in_threadpool(find, name)
    return await _answer(request, state, who.actor, figure, _Form("svg", theme))


@of_studies.head("/{name}.png", include_in_schema=False)
@of_studies.get("/{name}.png", response_class=Response, responses=drawn_as("png", "study_not_found"))
async def get_study_figure_png(
    study_id: str, name: str, request: Request, state: State, who: Who, *,
    model: OfModel = None, task: OfTask = None, theme: Lit = "light", scale: Scale = 2.0,
) -> Response:  # fmt: skip
    """The same as a picture."""
    find = await run_in_threadpool(_of_study, state, who.actor, study_id, model, task)
    figure = await run_in_threadpool(find, name)
    return await _answer(request, state, who.actor, figure, _Form("png", theme, scale))


def _of_study(
    state: GatewayState, actor: Actor, study_id: str, model: str | None, task: str | None
) -> Callable[[str], Figure]:
    rows = read_study(state, actor, study_id).table
    base = address("/v1/jobs")
    return lambda name: study_figure(rows, study_id, name, model=model, task=task, base=base)


def _listed(find: Callable[[str], Figure], names: tuple[str, ...], base: str, query: str) -> FigureList:
    return FigureList(data=[_info(find, name, f"{base}/{name}", query) for name in names])


def _info(find: Callable[[str], Figure], name: str, at: str, query: str) -> FigureInfo:
    try:
        drawing = find(name).drawing
    except LayercutError as error:
        if error.code != "figure_unavailable":
            raise
        return FigureInfo(name=name, missing=error.message)
    svg, png = (f"{at}.{form}{query}" for form in MEDIA_TYPES)
    return FigureInfo(name=name, title=drawing.title, alt=drawing.alt, svg=svg, png=png)


class _Form(NamedTuple):
    """How a figure is wanted."""

    form: str
    theme: Theme
    scale: float = 1.0


async def _answer(request: Request, state: GatewayState, actor: Actor, figure: Figure, wanted: _Form) -> Response:
    key, media_type = (*figure.key, *wanted), MEDIA_TYPES[wanted.form]
    drawn = await state.drawing_room.draw(actor.tenant, key, rendered(figure.drawing, *wanted))
    headers = {"ETag": drawn.etag, "Cache-Control": "private, no-cache", "Content-Security-Policy": POLICY}
    if matches(request.headers.get("if-none-match"), drawn.etag):
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        headers["Content-Length"] = str(len(drawn.content))
        return Response(headers=headers, media_type=media_type)
    return Response(drawn.content, headers=headers, media_type=media_type)
