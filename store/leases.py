"""What a worker does with a job. Every write names the lease's token; a lease that was lost changes nothing."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy import ColumnElement, Connection, Row, and_, select, update

from api_schemas.errors import JobError, LayercutError
from api_schemas.events import Event, EventType, NewEvent
from api_schemas.jobs import Progress, Result, Stage, Status, Usage
from api_schemas.requests import JobRequest
from store.columns import later
from store.rows import ACTIVE, QUEUE_ORDER, append, move, moving
from store.tables import jobs


class LeaseLost(Exception):
    """Another may run the job by now: kill the runner, write nothing, publish nothing."""


@dataclass(frozen=True)
class Lease:
    """The right to write about one job, for one attempt."""

    job_id: str
    attempt: int
    token: str

    @property
    def prefix(self) -> str:
        """Where this attempt's files go: a place that no other attempt writes to."""
        return f"jobs/{self.job_id}/attempts/{self.attempt}-{self.token}"


@dataclass(frozen=True)
class Claim:
    lease: Lease
    request: JobRequest
    created_at: datetime


def claim(connection: Connection, worker: str, lease_seconds: float) -> Claim | None:
    """Take the best queued job. One whose request this version cannot read any more fails, and the next is taken."""
    while (row := _take(connection, worker, lease_seconds)) is not None:
        try:
            request = JobRequest.model_validate(row.request)
        except (ValidationError, LayercutError) as error:
            fail(connection, row, LayercutError("internal", f"this version cannot read the job's request: {error}"))
            continue
        started = NewEvent(
            type=EventType.STARTED,
            message=f"attempt {row.attempt} of {row.max_attempts} started",
            data={"attempt": row.attempt, "worker": worker},
        )
        append(connection, row.id, started)
        return Claim(Lease(row.id, row.attempt, row.lease_token), request, row.created_at)
    return None


def heartbeat(connection: Connection, lease: Lease, lease_seconds: float) -> Status:
    """Extend the lease; answers whether to go on (`running`) or to stop (`cancelling`)."""
    extend = update(jobs).where(_held(lease)).values(lease_expires_at=later(lease_seconds))
    status = connection.execute(extend.returning(jobs.c.status)).scalar()
    if status is None:
        raise LeaseLost(lease)
    return Status(status)


def record(connection: Connection, lease: Lease, event: NewEvent) -> Event:
    """Write down one event of the runner and keep the row current with it.

    Raises ``ValueError`` for a type that only the store or ``finish`` may write, and for data that do not fit the type.
    """
    if event.type not in _KEPT:
        raise ValueError(f"a runner does not report {event.type}: lifecycle events are the store's")
    row = _hold(connection, lease)
    values = _KEPT[event.type](row, event)
    if values:
        connection.execute(update(jobs).where(jobs.c.id == row.id).values(**values))
    return append(connection, row.id, event)


def finish(connection: Connection, lease: Lease, event: NewEvent, artifact: str | None) -> None:
    """End the job as the terminal ``event`` says; one that was to be cancelled is cancelled, however it ended."""
    if not event.type.terminal:
        raise ValueError(f"{event.type} does not end a job")
    row = _hold(connection, lease)
    if row.status == Status.CANCELLING:
        return _end_cancelled(connection, row, event.data)
    target, values, data = _ENDINGS[event.type](row, event)
    move(connection, row, target, event.model_copy(update={"data": data}), **values, artifact=artifact)


def release(connection: Connection, lease: Lease, reason: str) -> None:
    lose(connection, _hold(connection, lease), reason)


def hand_back(connection: Connection, lease: Lease, reason: str) -> None:
    """Queue the job again through no fault of its own: the attempt is given back, so that a deploy uses none up."""
    row = _hold(connection, lease)
    if row.status == Status.CANCELLING:
        return _end_cancelled(connection, row, {})
    lost = NewEvent(
        type=EventType.ATTEMPT_LOST,
        level="warning",
        message=f"attempt {row.attempt} ended early: {reason}; queued again, and one more attempt is allowed",
        data={"reason": reason, "attempts_left": row.max_attempts + 1 - row.attempt},
    )
    more = {"max_attempts": row.max_attempts + 1}
    return move(connection, row, Status.QUEUED, lost, status_reason=lost.message, **more)


def lose(connection: Connection, row: Row[Any], reason: str) -> Status:
    """A locked row's attempt came to nothing: queue it again while attempts are left. Returns what it became."""
    if row.status == Status.CANCELLING:
        _end_cancelled(connection, row, {})
        return Status.CANCELLED
    if row.attempt >= row.max_attempts:
        message = f"attempt {row.attempt} of {row.max_attempts} was lost: {reason}"
        fail(connection, row, LayercutError("attempts_exhausted", message))
        return Status.FAILED
    lost = NewEvent(
        type=EventType.ATTEMPT_LOST,
        level="warning",
        message=f"attempt {row.attempt} of {row.max_attempts} was lost: {reason}; queued again",
        data={"reason": reason, "attempts_left": row.max_attempts - row.attempt},
    )
    move(connection, row, Status.QUEUED, lost, status_reason=lost.message)
    return Status.QUEUED


def fail(connection: Connection, row: Row[Any], error: LayercutError) -> None:
    """A locked row has failed for a reason that is the service's to give, not the runner's."""
    body = JobError.of(error, row.stage).model_dump(mode="json")
    event = NewEvent(type=EventType.FAILED, level="error", message=error.message, data={"error": body})
    move(connection, row, Status.FAILED, event, error=body, status_reason=error.message)


def _held(lease: Lease) -> ColumnElement[bool]:
    return and_(
        jobs.c.id == lease.job_id,
        jobs.c.lease_token == lease.token,
        jobs.c.attempt == lease.attempt,
        jobs.c.status.in_(ACTIVE),
    )


def _hold(connection: Connection, lease: Lease) -> Row[Any]:
    row = connection.execute(select(jobs).where(_held(lease)).with_for_update()).first()
    if row is None:
        raise LeaseLost(lease)
    return row


def _take(connection: Connection, worker: str, lease_seconds: float) -> Row[Any] | None:
    # `=` and not IN: PostgreSQL may run the subquery of an IN once a row, and so lock and take more than one job.
    best = (
        select(jobs.c.id)
        .where(jobs.c.status == Status.QUEUED, jobs.c.queue_expires_at > later())
        .order_by(*QUEUE_ORDER)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    take = moving(Status.QUEUED, Status.RUNNING).where(jobs.c.id == best)
    lease = {"worker": worker, "lease_token": secrets.token_hex(8), "lease_expires_at": later(lease_seconds)}
    return connection.execute(take.values(**lease).returning(*jobs.c)).first()


RowUpdate = Callable[[Row[Any], NewEvent], dict[str, Any]]


def _keep_stage(_row: Row[Any], event: NewEvent) -> dict[str, Any]:
    stage = Stage(event.data["stage"])
    return {} if event.data.get("skipped") else {"stage": stage}


def _keep_progress(_row: Row[Any], event: NewEvent) -> dict[str, Any]:
    return {"progress": Progress.model_validate(event.data).model_dump(mode="json", exclude_none=True)}


def _keep_resolved(row: Row[Any], event: NewEvent) -> dict[str, Any]:
    return {"resolved": {**(row.resolved or {}), **event.data}}


def _keep_nothing(_row: Row[Any], _event: NewEvent) -> dict[str, Any]:
    return {}


# What a runner may report, and what each does to the row.
_KEPT: dict[EventType, RowUpdate] = {
    EventType.STAGE: _keep_stage,
    EventType.PROGRESS: _keep_progress,
    EventType.RESOLVED: _keep_resolved,
    EventType.METRIC: _keep_nothing,
    EventType.LOG: _keep_nothing,
}

JobEnd = tuple[Status, dict[str, Any], dict[str, Any]]


def _succeeded(row: Row[Any], event: NewEvent) -> JobEnd:
    data = {
        "result": Result.model_validate(event.data["result"]).model_dump(mode="json"),
        "usage": _usage(event.data),
    }
    whole = {"progress": {**row.progress, "fraction": 1.0, "eta_seconds": 0.0}}
    return Status.SUCCEEDED, {**data, **whole}, data


def _failed(_row: Row[Any], event: NewEvent) -> JobEnd:
    error = JobError.model_validate(event.data["error"])
    data = {"error": error.model_dump(mode="json"), "usage": _usage(event.data)}
    return Status.FAILED, {**data, "status_reason": error.message}, data


def _cancelled(_row: Row[Any], _event: NewEvent) -> JobEnd:
    return Status.CANCELLED, {}, {}


_ENDINGS: dict[EventType, Callable[[Row[Any], NewEvent], JobEnd]] = {
    EventType.SUCCEEDED: _succeeded,
    EventType.FAILED: _failed,
    EventType.CANCELLED: _cancelled,
}


def _usage(data: dict[str, Any]) -> dict[str, Any] | None:
    usage = data.get("usage")
    return None if usage is None else Usage.model_validate(usage).model_dump(mode="json")


def _end_cancelled(connection: Connection, row: Row[Any], data: dict[str, Any]) -> None:
    event = NewEvent(type=EventType.CANCELLED, message="cancelled while it ran")
    move(connection, row, Status.CANCELLED, event, usage=_usage(data))
