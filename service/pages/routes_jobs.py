"""`/`: the jobs of the tenant, newest first."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from api_schemas.errors import LayercutError
from api_schemas.jobs import Status
from service.callers import Own
from service.pages.environment import page
from service.pages.refusals import OF_SCRIPT, PageRoute
from service.pages.views.jobs import Filters, jobs_view
from store.listing import JobFilter

router = APIRouter(route_class=PageRoute, include_in_schema=False)

#: Rows of a page.
PAGE = 25

Text = Annotated[str, Query(max_length=4096)]


def _filters(*, status: Text = "", task: Text = "", model: Text = "", metadata: Text = "", after: Text = "") -> Filters:
    known = ", ".join(known.value for known in Status)
    if status and status not in known.split(", "):
        raise LayercutError("validation_failed", f"status is one of {known}, not {status[:40]!r}", param="status")
    return Filters(status, task.strip(), model.strip(), metadata.strip(), after.strip())


@router.get("/")
def list_jobs(request: Request, own: Own, filters: Annotated[Filters, Depends(_filters)]) -> Response:
    """A script that looks again gets the table alone."""
    wanted = JobFilter(filters.statuses, filters.task or None, filters.model or None, filters.pairs)
    jobs, has_more = own.list(wanted, after=filters.after or None, limit=PAGE)
    template = "jobs/table.html" if OF_SCRIPT in request.headers else "jobs/list.html"
    return page(request, template, active="jobs", jobs=jobs_view(jobs, filters, has_more=has_more))
