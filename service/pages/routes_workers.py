"""`/ui/workers`: who computes, what waits, and what the tenant may use."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from service.callers import Who, quotas_and_usage
from service.ceilings import ceilings_of
from service.pages.environment import page
from service.pages.refusals import OF_SCRIPT, PageRoute
from service.pages.views.workers import workers_view
from service.routes.workers import list_workers
from service.state import State

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/ui/workers")
def show_workers(request: Request, state: State, who: Who) -> Response:
    """A script that looks again gets what changes."""
    quotas, usage = quotas_and_usage(state, who)
    view = workers_view(list_workers(state, who).data, quotas, usage, ceilings_of(state.settings))
    template = "workers/now.html" if OF_SCRIPT in request.headers else "workers/show.html"
    return page(request, template, active="workers", view=view)
