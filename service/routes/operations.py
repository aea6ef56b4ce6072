"""For those who run it: is it alive, can it work, what version is it, what does a problem mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import structlog
from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from api_schemas.errors import ERRORS, LayercutError
from api_schemas.workers import WorkerState
from service.edge.liveness import threads_answer
from service.openapi import problems
from service.state import GatewayState, State
from service.version import VERSION
from store.workers import LIVING_SECONDS

router = APIRouter(tags=["operations"])

log = structlog.get_logger("layercut.ready")


class Health(BaseModel):
    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """`degraded`: jobs are taken and shown, and wait until the broker is back or a worker looks by itself."""

    status: Literal["ok", "degraded", "unavailable"]
    checks: dict[str, Literal["ok", "unreachable"]]
    workers: list[WorkerState] = Field(
        default=[], description="those that were heard of lately, and what locks their runners in"
    )


class Version(BaseModel):
    name: Literal["layercut"] = "layercut"
    version: str
    api: Literal["v1"] = "v1"


class ProblemKind(BaseModel):
    """What stands behind the `type` of a problem."""

    type: str
    code: str = Field(description="the same in `job.error`, for what goes wrong after a job was taken")
    title: str
    status: int = Field(description="HTTP status where it answers a request")
    retryable: bool = Field(description="whether the same request may work later")


@router.get("/healthz", responses=problems("not_ready"))
async def healthz() -> Health:
    """The process is alive and its threads are. No other server is asked: a restart here would not mend it."""
    if not await threads_answer():
        raise LayercutError("not_ready", "no thread is free to do a request's work; a restart may help")
    return Health()


@router.get("/readyz", responses={503: {"model": Readiness, "description": "database or artifacts cannot be reached"}})
def readyz(state: State, response: Response) -> Readiness:
    """Whether requests can be served. A broker that is down is said and is not fatal: jobs are kept in the database."""
    checks = {name: _check(name, probe, state) for name, probe in PROBES.items()}
    down = {name for name, state in checks.items() if state != "ok"}
    if down - {"broker"}:
        response.status_code = 503
        response.headers["Retry-After"] = "5"
        return Readiness(status="unavailable", checks=checks)
    living = state.workers.living(LIVING_SECONDS)
    return Readiness(status="degraded" if down else "ok", checks=checks, workers=living)


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
        type=f"/problems/{kind.code.replace('_', '-')}",
        code=kind.code,
        title=kind.title,
        status=kind.status,
        retryable=kind.retryable,
    )


def _artifacts(state: GatewayState) -> None:
    # Asking for a manifest that is not there takes a whole trip to the store, and writes nothing.
    try:
        state.artifacts.manifest("readyz")
    except LayercutError as error:
        if error.code != "file_not_found":
            raise


PROBES: dict[str, Callable[[GatewayState], object]] = {
    "database": lambda state: state.store.has_queued(),
    "artifacts": _artifacts,
    "broker": lambda state: state.wakeups.waiting(),
}


def _check(name: str, probe: Callable[[GatewayState], object], state: GatewayState) -> Literal["ok", "unreachable"]:
    try:
        probe(state)
    except Exception as error:  # noqa: BLE001 - whatever its client raises means the same here
        log.warning("unreachable", what=name, error=type(error).__name__)
        return "unreachable"
    return "ok"
