"""`/ui/jobs/{id}`: one job, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from api_schemas.errors import LayercutError
from api_schemas.tenants import Scope
from service.callers import Own, Who
from service.edge.root_path import address
from service.pages.environment import page
from service.pages.job_reading import read
from service.pages.refusals import PageRoute
from service.pages.views.job import job_view
from service.pages.visits import Sent
from service.pages.words import pretty
from service.routes.jobs import queue_again
from service.state import GatewayState, State
from store.jobs import JobStore

router = APIRouter(prefix="/ui/jobs", route_class=PageRoute, include_in_schema=False)


@dataclass(frozen=True)
class Action:
    """What is asked before, what does it, and what was done: for `confirm.html`."""

    question: str
    means: str
    button: str
    is_grave: bool
    do: Callable[[GatewayState, JobStore, str], object]
    #: The page that follows.
    leads_to: str = "/ui/jobs/{id}"


def _cancel(state: GatewayState, own: JobStore, job_id: str) -> None:
    own.cancel(job_id)


def _delete(state: GatewayState, own: JobStore, job_id: str) -> None:
    own.delete(job_id)


ACTIONS = {
    "cancel": Action("Cancel this job?", "Its worker is told to stop. What it has done so far can be gone on from, by"
                     " a retry.", "Cancel the job", is_grave=True, do=_cancel),
    "retry": Action("Retry this job?", "It is queued again, and goes on from its last checkpoint.", "Retry the job",
                    is_grave=False, do=queue_again),
    "delete": Action("Delete this job?", "Its files, events, log and row go, and do not come back.", "Delete the job",
                     is_grave=True, do=_delete, leads_to="/"),
}  # fmt: skip


@router.get("/{job_id}")
def show_job(job_id: str, request: Request, state: State, own: Own) -> Response:
    job = own.get(job_id)
    view = job_view(job, read(request, state, own, job))
    return page(request, "job/show.html", active="jobs", view=view, confirm=ACTIONS)


@router.get("/{job_id}/job.json")
def job_file(job_id: str, own: Own) -> Response:
    """What the job was asked for with, to keep and to send again."""
    job = own.get(job_id)
    named = {"Content-Disposition": f'attachment; filename="{job.id}.json"'}
    return Response(pretty(job.request) + "\n", media_type="application/json", headers=named)


@router.get("/{job_id}/{action}")
def ask(job_id: str, action: str, request: Request, who: Who, own: Own) -> Response:
    """Whether it is meant, on a page of its own: where there is no script."""
    found = _action(action)
    who.needs(Scope.SUBMIT, f"to {action} a job")
    job = own.get(job_id)
    return page(request, "job/confirm.html", active="jobs", job=job, name=action, action=found)


@router.post("/{job_id}/{action}")
def act(job_id: str, action: str, state: State, own: Own, form: Sent) -> Response:
    found = _action(action)
    found.do(state, own, job_id)
    return RedirectResponse(address(found.leads_to.format(id=job_id)), 303)


def _action(name: str) -> Action:
    if name not in ACTIONS:
        raise LayercutError("not_found", f"a job's page has {', '.join(ACTIONS)}, and no {name[:80]!r}")
    return ACTIONS[name]
