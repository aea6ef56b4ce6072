"""`/ui/compare`: two jobs side by side."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from api_schemas.errors import LayercutError
from api_schemas.jobs import Job
from service.callers import Own
from service.pages.environment import page
from service.pages.refusals import PageRoute
from service.pages.views.compare import compare_view
from service.pages.views.jobs import model_name, shortened
from store.jobs import JobStore
from store.listing import JobFilter

router = APIRouter(prefix="/ui/compare", route_class=PageRoute, include_in_schema=False)

Id = Annotated[str, Query(max_length=200)]
#: Jobs that are proposed.
LISTED = 50


@router.get("")
def compare(
    request: Request, own: Own, *, a: Id = "", b: Id = "",
    job: Annotated[list[Annotated[str, Query(max_length=200)]] | None, Query(max_length=100)] = None,
) -> Response:  # fmt: skip
    """Of the jobs `a` and `b`; a list of jobs with boxes sends `job` twice."""
    chosen = [one.strip() for one in (a, b, *(job or ())) if one.strip()]
    wrong: dict[str, str] = {}
    found = [_found(own, one, wrong) for one in chosen[:2]]
    jobs = [one for one in found if one is not None]
    view = compare_view(*jobs) if len(jobs) == 2 else None
    if len(chosen) > 2:
        wrong["more"] = f"{len(chosen)} jobs were chosen, and two are compared: these are the first"
    recent, _ = own.list(JobFilter(), after=None, limit=LISTED)
    return page(
        request, "compare/show.html", active="jobs", status=200 if all(found) else 404, view=view, wrong=wrong,
        a=chosen[0] if chosen else "", b=chosen[1] if len(chosen) > 1 else "",
        recent=[(one.id, f"{shortened(model_name(one.model))} · {one.task} · {one.status}") for one in recent],
    )  # fmt: skip


def _found(own: JobStore, job_id: str, wrong: dict[str, str]) -> Job | None:
    try:
        return own.get(job_id)
    except LayercutError as error:
        if error.code != "job_not_found":
            raise
        wrong[job_id] = error.message
        return None
