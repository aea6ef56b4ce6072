"""For those who run it: is it alive, can it work, what version is it, what does a problem mean."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import structlog
from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from api_schemas.errors import ERRORS, LayercutError
from api_schemas.workers import WorkerState
from service.edge.root_path import address
from service.openapi import problems
from service.problems import RETRY_AFTER_SECONDS
from service.state import State
from service.version import VERSION
from store.object_errors import Kind, first_fault
from store.passing import links, passing

#: Without these no request can be served; without the others some cannot.
NEEDED = frozenset({"database", "artifacts"})

Check = Literal["ok", "full"] | Kind

NOT_READY = "the database or the artifact store takes no write"
AWAY = {
    "status": "unavailable",
    "checks": {"database": "unreachable", "artifacts": "ok", "broker": "ok", "disk": "ok"},
    "workers": [],
}

router = APIRouter(tags=["operations"])

log = structlog.get_logger("layercut.ready")


class Health(BaseModel):
    status: Literal["ok"] = Field(default="ok", description="it is alive")


class Readiness(BaseModel):
    """`degraded`: what there is can be asked for. Without its broker jobs are taken, and wait for a worker that looks
    by itself; with a `disk` that is full none is.
    """

    status: Literal["ok", "degraded", "unavailable"] = Field(description="whether requests can be served")
    checks: dict[str, Check] = Field(
        description="`database` and `artifacts` were written to. Of an object store: `missing`, it has no such bucket;"
        " `refused`, the key is wrong or may not do this; `busy`, `stalled`, `unreachable`: it may pass"
    )
    reasons: dict[str, str] = Field(default={}, description="one sentence for each check that is not `ok`")
    workers: list[WorkerState] = Field(
        default=[], description="those that were heard of lately, and what locks their runners in"
    )


class Version(BaseModel):
    name: Literal["layercut"] = Field(default="layercut", description="of the service")
    version: str = Field(description="of the service")
    api: Literal["v1"] = Field(default="v1", description="of the calls")


class ProblemKind(BaseModel):
    """What stands behind the `type` of a problem."""

    type: str = Field(description="the address of this page")
    code: str = Field(description="the same in `job.error`, for what goes wrong after a job was taken")
    title: str = Field(description="what the code means")
    status: int = Field(description="HTTP status where it answers a request")
    retryable: bool = Field(description="whether the same request may work later")


@router.get("/healthz", responses=problems("not_ready"))
async def healthz(state: State) -> Health:
    """The process is alive and its threads are. No other server is asked: a restart here would not mend it."""
    if not await state.liveness.threads_answer():
        raise LayercutError("not_ready", "no thread is free to do a request's work; a restart may help")
    return Health()


@router.get(
    "/readyz",
    responses={503: {"model": Readiness, "description": NOT_READY, "content": {"application/json": {"example": AWAY}}}},
)
async def readyz(state: State, response: Response) -> Readiness:
    """Whether requests can be served: a write in the database and in the artifact store, the broker, room on disks."""
    probes = vars(state.probes)
    found = await asyncio.gather(*(probe.answer() for probe in probes.values()), return_exceptions=True)
    answers: dict[str, Any] = dict(zip(probes, found, strict=True))
    checks = {name: _check(name, answer) for name, answer in answers.items()}
    reasons = {name: _reason(answer) for name, answer in answers.items() if isinstance(answer, BaseException)}
    if reasons.keys() & NEEDED:
        response.status_code = 503
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return Readiness(status="unavailable", checks=checks, reasons=reasons)
    status: Literal["ok", "degraded"] = "degraded" if reasons else "ok"
    return Readiness(status=status, checks=checks, reasons=reasons, workers=answers["database"])


@router.get("/version")
async def version() -> Version:
    """The version of the service."""
    return Version(version=VERSION)


@router.get("/problems/{name}", responses=problems("not_found"))
async def get_problem(name: str) -> ProblemKind:
    """What a problem's `type` means."""
    kind = ERRORS.get(name.replace("-", "_"))
    if kind is None:
        raise LayercutError("not_found", f"there is no problem type {name[:80]!r}")
    return ProblemKind(
        type=address(f"/problems/{kind.code.replace('_', '-')}"),
        code=kind.code,
        title=kind.title,
        status=kind.status,
        retryable=kind.retryable,
    )


def _check(name: str, answer: object) -> Check:
    if not isinstance(answer, BaseException):
        return "ok"
    check = _kind(answer)
    log.warning(check, what=name, error=type(answer).__name__, reason=_reason(answer))
    return check


def _kind(error: BaseException) -> Check:
    found, fault = passing(error), first_fault(links(error))
    if found is not None and found.code == "storage_full":
        return "full"
    return fault.kind if fault else "unreachable"


def _reason(error: BaseException) -> str:
    """Of what does not pass, no more than its kind: the rest is for the log."""
    found = passing(error)
    return found.message if found else f"it fails for another reason ({type(error).__name__})"
