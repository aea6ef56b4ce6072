"""What a worker does with a job. Every write names the lease's token; a lease that was lost changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError
from sqlalchemy import ColumnElement, Connection, Row, and_, func, select, update

from api_schemas.errors import ERRORS, JobError, LayercutError
from api_schemas.events import (
    AttemptLostData,
    Event,
    EventType,
    FailedData,
    NewEvent,
    StageData,
    StartedData,
    SucceededData,
    failure,
    new_event,
    push_told,
)
from api_schemas.jobs import Progress, Status, Usage
from api_schemas.requests import JobRequest
from api_schemas.resolved import ResolvedRequest
from store import outages
from store.claims import Claimant, take_within_quota
from store.columns import later
from store.rows import ACTIVE, append, as_event, move
from store.tables import DEFAULT_TENANT, events, jobs, tenants
from store.tenants import pool_of


class LeaseLost(Exception):
    """Another may run the job by now: kill the runner, write nothing, publish nothing."""


@dataclass(frozen=True)
class Lease:
    """The right to write about one job, for one attempt."""

    job_id: str
    attempt: int
    token: str
    tenant: str = DEFAULT_TENANT
    #: Which part of the cache it reads and writes.
    pool: str = DEFAULT_TENANT

    @property
    def prefix(self) -> str:
        """Where this attempt's files go: a place that no other attempt writes to."""
        return f"jobs/{self.job_id}/attempts/{self.attempt}-{self.token}"


#: The code of an error that is in no table: a fault of ours, or one that passes, such as a driver's.
UNFORESEEN = "internal"

#: A job waits no longer than this after a lost attempt.
LONGEST_RETRY_SECONDS = 600.0

#: A row in which nothing is pinned, or not in this form, was written by another version.
OTHER_FORM = (
    "the job was queued by another version of layercut, whose rows this one cannot carry out ({what}): POST it again"
)


@dataclass(frozen=True)
class Claim:
    """``request`` is as it was sent, ``resolved`` what was pinned of it when the job was accepted."""

    lease: Lease
    request: JobRequest
    resolved: ResolvedRequest
    created_at: datetime
    #: Of the request that made the job.
    request_id: str | None = None
    traceparent: str | None = None


def claim(connection: Connection, claimant: Claimant, lease_seconds: float) -> Claim | None:
    """Take the best queued job. One whose request this version cannot read any more fails, and the next is taken."""
    while (row := take_within_quota(connection, claimant, lease_seconds)) is not None:
        try:
            request, resolved = read_request(row)
        except LayercutError as error:
            fail(connection, row, error)
            continue
        message = f"attempt {row.attempt} of {row.max_attempts} started"
        append(
            connection, row.id,
            new_event(EventType.STARTED, message, StartedData(attempt=row.attempt, worker=claimant.worker)),
        )  # fmt: skip
        lease = Lease(row.id, row.attempt, row.lease_token, row.tenant, _count_claim(connection, row.tenant))
        return Claim(lease, request, resolved, row.created_at, row.request_id, row.traceparent)
    return None


def read_request(row: Row[Any]) -> tuple[JobRequest, ResolvedRequest]:
    """What a job was asked for and what was pinned of it; ``validation_failed`` where another version wrote the row."""
    try:
        return JobRequest.model_validate(row.request), _pinned(row)
    except (ValidationError, LayercutError) as error:
        raise LayercutError("validation_failed", OTHER_FORM.format(what=_brief(error))) from None


def _count_claim(connection: Connection, tenant: str) -> str:
    """The tenant had its turn; its pool of the cache.

    Where another claim of the tenant is saying so at this moment, it stays with that: no claim waits for a tenant's
    row, and so for the commits of all others of the tenant.
    """
    free = select(tenants.c.id).where(tenants.c.id == tenant).with_for_update(skip_locked=True)
    turn = update(tenants).where(tenants.c.id == free.scalar_subquery()).values(claimed_at=later())
    connection.execute(turn)
    return pool_of(tenant, connection.scalar(select(tenants.c.shared_baselines).where(tenants.c.id == tenant)))


def _pinned(row: Row[Any]) -> ResolvedRequest:
    """What every attempt is handed. The commit of a model that could be looked at only later is that of the first.

    Its commit and no more: a runner told it, and is not to choose which model the next attempt stages.
    """
    pinned = ResolvedRequest.model_validate(row.pinned or {})
    if pinned.plan is not None:
        return pinned
    told = ResolvedRequest.model_validate(row.resolved).model
    return pinned if told.id != pinned.model.id else pinned.model_copy(update={"model": told})


def _brief(error: ValidationError | LayercutError) -> str:
    if isinstance(error, LayercutError):
        return error.message
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def heartbeat(connection: Connection, lease: Lease, lease_seconds: float) -> Status:
    """Extend the lease; answers whether to go on (`running`) or to stop (`cancelling`)."""
    extend = update(jobs).where(held(lease)).values(lease_expires_at=later(lease_seconds))
    status = connection.execute(extend.returning(jobs.c.status)).scalar()
    if status is None:
        raise LeaseLost(lease)
    return Status(status)


def record(connection: Connection, lease: Lease, event: NewEvent, after: int | None = None) -> Event:
    """Write down one event of the runner and keep the row current with it.

    ``after`` is the number of the last event that the attempt is known to have written, or 0: asked twice, it is
    written once. A database that went away may have written what it did not confirm.

    Raises ``ValueError`` for a type that only the store or ``finish`` may write, and for data that do not fit the type.
    """
    if event.type not in RECORDED:
        raise ValueError(f"a runner does not report {event.type}: lifecycle events are the store's")
    row = _hold(connection, lease)
    if after is not None and row.last_event > after and (kept := _same_since(connection, lease, event, after)):
        return as_event(kept)
    values = _row_values(event)
    if values:
        connection.execute(update(jobs).where(jobs.c.id == row.id).values(**values))
    return append(connection, row.id, event)


def _same_since(connection: Connection, lease: Lease, event: NewEvent, after: int) -> Row[Any] | None:
    """The event as the attempt has written it past the number ``after``. It writes one after the other, so any that is
    like it there is this one; what lies between is the store's, as a request to cancel.
    """
    mine = (events.c.job_id == lease.job_id, events.c.number > after, events.c.attempt == lease.attempt)
    same = (events.c.type == event.type, events.c.message == event.message)
    return connection.execute(select(events).where(*mine, *same).order_by(events.c.number).limit(1)).first()


def finish(
    connection: Connection,
    lease: Lease,
    event: NewEvent,
    artifact: str | None,
    size: int | None = None,
    *,
    artifact_days: float = 0,
    retry_seconds: float,
) -> None:
    """End the job as the terminal ``event`` says; one that was to be cancelled is cancelled, however it ended. Its
    files are kept for ``artifact_days``; 0 is for ever.

    An error that passes ends the attempt alone, while there are more; one that nobody foresaw does until two attempts
    have met it.
    """
    if not event.type.terminal:
        raise ValueError(f"{event.type} does not end a job")
    row = _hold(connection, lease)
    if isinstance(event.data, SucceededData) and event.data.result.pushed is not None:
        append(connection, row.id, push_told(event.data.result.pushed))
    if row.status == Status.CANCELLING:
        usage = event.data.usage if isinstance(event.data, SucceededData | FailedData) else None
        return _end_cancelled(connection, row, usage)
    ends: NewEvent | None = event
    if isinstance(event.data, FailedData):
        error = event.data.error
        if error.code == UNFORESEEN:
            ends = _unforeseen(connection, row, event.data, retry_seconds)
        elif row.attempt < row.max_attempts and passes(error):
            lose(connection, row, f"{error.code}: {error.message}", retry_seconds, error)
            ends = None
    if ends is not None:
        target, values, told = _ending(row, ends)
        expires_at = later(artifact_days * 24 * 3600) if artifact and artifact_days else None
        move(connection, row, target, told, **values, artifact=artifact, bytes=size, expires_at=expires_at)


def passes(error: JobError) -> bool:
    """Whether another attempt may fare better than the one that ended with ``error``."""
    kind = ERRORS.get(error.code)
    return kind is not None and kind.retryable


def _unforeseen(connection: Connection, row: Row[Any], failed: FailedData, retry_seconds: float) -> NewEvent | None:
    """How the job ends with the error; None where it may pass, and the job is queued again."""
    error, mine = failed.error, events.c.job_id == row.id
    # A job that was asked for again has met nothing yet.
    asked = select(func.max(events.c.number)).where(mine, events.c.type == EventType.QUEUED).scalar_subquery()
    lost = select(events).where(mine, events.c.type == EventType.ATTEMPT_LOST, events.c.number > asked)
    earlier = [(event.attempt, AttemptLostData.model_validate(event.data).error) for event in connection.execute(lost)]
    met = [attempt for attempt, found in earlier if found is not None and found.is_like(error)]
    if not met and row.attempt < row.max_attempts:
        lose(connection, row, f"{error.code}: {error.message}", retry_seconds, error)
        return None
    if met:
        said = f"{error.message} (attempts {met[0]} and {row.attempt} both met this: trying again does not help)"
        error = error.model_copy(update={"message": said, "retryable": False})
    return new_event(EventType.FAILED, error.message, failed.model_copy(update={"error": error}), "error")


def release(
    connection: Connection, lease: Lease, reason: str, error: JobError | None = None, *, retry_seconds: float
) -> None:
    lose(connection, _hold(connection, lease), reason, retry_seconds, error)


def hand_back(
    connection: Connection, lease: Lease, reason: str, error: JobError | None = None, *, retry_seconds: float
) -> None:
    """Queue the job again through no fault of its own: the attempt is given back, so that a deploy uses none up.

    Without an ``error`` it keeps its place in the queue; with one, that passes, it waits as after a lost attempt, and
    ends with it where that has kept it for too long.
    """
    row = _hold(connection, lease)
    if row.status == Status.CANCELLING:
        return _end_cancelled(connection, row)
    if error is not None and (kept := outages.kept_by(connection, row.id, error.code)) >= outages.LONGEST:
        hours = f"{kept / timedelta(hours=1):.1f} hours"
        said = f"attempt {row.attempt} ended early, and no other is made: for {hours} it was kept by {error.code}"
        return fail(connection, row, LayercutError(error.code, f"{said}: {error.message}", param=error.param))
    waits = None if error is None else _wait(connection, row, retry_seconds)
    message = (
        f"attempt {row.attempt} ended early: {reason}; queued again{_when(waits)}, and one more attempt is allowed"
    )
    lost = new_event(
        EventType.ATTEMPT_LOST,
        message,
        AttemptLostData(reason=reason, attempts_left=row.max_attempts + 1 - row.attempt, error=error),
        "warning",
    )
    more = {"max_attempts": row.max_attempts + 1, **(waits.values if waits else {})}
    return move(connection, row, Status.QUEUED, lost, status_reason=message, **more)


def lose(
    connection: Connection, row: Row[Any], reason: str, retry_seconds: float, error: JobError | None = None
) -> Status:
    """A locked row's attempt came to nothing: queue it again while attempts are left. Returns what it became.

    It is claimed again after ``retry_seconds``, twice as long after each further loss, and takes a new place in the
    queue. Of the last attempt, ``error`` is the job's.
    """
    if row.status == Status.CANCELLING:
        _end_cancelled(connection, row)
        return Status.CANCELLED
    said = f"attempt {row.attempt} of {row.max_attempts} was lost: {reason}"
    if row.attempt >= row.max_attempts:
        code, param = ("attempts_exhausted", None) if error is None else (error.code, error.param)
        fail(connection, row, LayercutError(code, said, param=param))
        return Status.FAILED
    waits = _wait(connection, row, retry_seconds)
    message = f"{said}; queued again{_when(waits)}"
    lost = new_event(
        EventType.ATTEMPT_LOST,
        message,
        AttemptLostData(reason=reason, attempts_left=row.max_attempts - row.attempt, error=error),
        "warning",
    )
    move(connection, row, Status.QUEUED, lost, status_reason=message, **waits.values)
    return Status.QUEUED


@dataclass(frozen=True)
class _Waits:
    """Until when a job waits before it is tried again, and what of its row says so."""

    until: datetime
    seconds: float
    values: dict[str, Any]


def _wait(connection: Connection, row: Row[Any], retry_seconds: float) -> _Waits:
    # The exponent is bounded: a job may be handed back without end.
    seconds = min(LONGEST_RETRY_SECONDS, retry_seconds * 2.0 ** min(row.losses, 30))
    until = connection.execute(select(later(seconds))).scalar_one()
    values = {
        "losses": row.losses + 1,
        "claimable_at": until,
        "queued_at": later(),
        # It is not the queue that it waits for.
        "queue_expires_at": later(row.max_queue_seconds + seconds),
    }
    return _Waits(until, seconds, values)


def _when(waits: _Waits | None) -> str:
    return f", to be tried again from {waits.until:%H:%M:%S} UTC" if waits is not None and waits.seconds else ""


def fail(connection: Connection, row: Row[Any], error: LayercutError) -> None:
    """A locked row has failed for a reason that is the service's to give, not the runner's."""
    body = JobError.of(error, row.stage).model_dump(mode="json")
    move(connection, row, Status.FAILED, failure(error, row.stage), error=body, status_reason=error.message)


def held(lease: Lease) -> ColumnElement[bool]:
    """The row of the lease's job, while the lease is its own."""
    return and_(
        jobs.c.id == lease.job_id,
        jobs.c.lease_token == lease.token,
        jobs.c.attempt == lease.attempt,
        jobs.c.status.in_(ACTIVE),
    )


def _hold(connection: Connection, lease: Lease) -> Row[Any]:
    row = connection.execute(select(jobs).where(held(lease)).with_for_update()).first()
    if row is None:
        raise LeaseLost(lease)
    return row


#: What a runner may report; the rest of the types are the store's own, or end the job.
RECORDED = frozenset({EventType.STAGE, EventType.PROGRESS, EventType.RESOLVED, EventType.METRIC, EventType.LOG})


def _row_values(event: NewEvent) -> dict[str, Any]:
    """What a runner's event changes in the job's row."""
    match event.data:
        case StageData(skipped=False, stage=stage):
            return {"stage": stage}
        case Progress() as progress:
            return {"progress": progress.model_dump(mode="json", exclude_none=True)}
        case ResolvedRequest() as resolved:
            return {"resolved": resolved.model_dump(mode="json")}
    return {}


def _ending(row: Row[Any], event: NewEvent) -> tuple[Status, dict[str, Any], NewEvent]:
    """Where a terminal event takes the row, with which values, and the event as it is told: without files' names."""
    match event.data:
        case SucceededData(result=result, usage=usage):
            values: dict[str, Any] = {"result": result.model_dump(mode="json"), "usage": _json(usage)}
            whole = {"progress": {**row.progress, "fraction": 1.0, "eta_seconds": 0.0}}
            told = SucceededData(result=result, usage=usage)
            return Status.SUCCEEDED, {**values, **whole}, new_event(event.type, event.message, told)
        case FailedData(error=error, usage=usage):
            values = {"error": error.model_dump(mode="json"), "usage": _json(usage), "status_reason": error.message}
            return (
                Status.FAILED,
                values,
                new_event(event.type, event.message, FailedData(error=error, usage=usage), "error"),
            )
    return Status.CANCELLED, {}, event


def _json(usage: Usage | None) -> dict[str, Any] | None:
    return None if usage is None else usage.model_dump(mode="json")


def _end_cancelled(connection: Connection, row: Row[Any], usage: Usage | None = None) -> None:
    event = new_event(EventType.CANCELLED, "cancelled while it ran")
    move(connection, row, Status.CANCELLED, event, usage=_json(usage))
