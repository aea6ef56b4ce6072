"""All pages, by who may see them."""

from __future__ import annotations

from fastapi import APIRouter, Request

from api_schemas.errors import LayercutError
from service.pages import (
    routes_compare,
    routes_entrance,
    routes_job,
    routes_jobs,
    routes_new,
    routes_new_study,
    routes_studies,
    routes_uploads,
    routes_workers,
)
from service.pages.refusals import PageRoute

#: For anybody.
OPEN_PAGES = (routes_entrance.router,)
#: For who is logged in, where that is needed.
PAGES = (
    routes_jobs.router,
    routes_job.router,
    routes_workers.router,
    routes_new.router,
    routes_uploads.router,
    routes_new_study.router,
    routes_studies.router,
    routes_compare.router,
)

#: After all others: what no page is at.
PAGES_LAST = APIRouter(route_class=PageRoute, include_in_schema=False)


@PAGES_LAST.api_route("/ui/{rest:path}", methods=["GET", "POST"])
async def nothing(request: Request, rest: str) -> None:
    raise LayercutError("not_found", f"there is no page at {request.url.path[:200]}")
