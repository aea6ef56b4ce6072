"""What users change of a job that exists: cancel it, ask for it again, delete it. The rows are locked by the caller."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, insert, select

from api_schemas.errors import LayercutError
from api_schemas.events import EventType, new_event
from api_schemas.jobs import Status
from store import upload_uses, uses
from store.claims import formats_of
from store.columns import later
from store.leases import read_request
from store.listing import JobFilter
from store.rows import move
from store.tables import deleted_jobs, deliveries, jobs
from store.tenants import check_room

# What a request to cancel does, by the status that it meets.
_CANCELLING: dict[Status, tuple[Status, EventType, str]] = {
    Status.QUEUED: (Status.CANCELLED, EventType.CANCELLED, "cancelled on request, in the queue"),
    Status.RUNNING: (Status.CANCELLING, EventType.CANCELLING, "cancelled on request"),
}

_ASKED_AGAIN = "queued again on request"

# Of the tries before: a job that is asked for again has ended with nothing yet.
_FORGOTTEN: dict[str, Any] = dict.fromkeys(
    ("finished_at", "result", "error", "usage", "artifact", "bytes", "expires_at", "expired_at", "sweep_at", "swept_at")
)

# What to do first, by the status of a job that was to have ended.
_FIRST: dict[Status, str] = {
    Status.QUEUED: "cancel it first (POST …/cancel)",
    Status.RUNNING: "cancel it first (POST …/cancel), and wait until it is cancelled",
    Status.CANCELLING: "wait until it is cancelled",
}


def cancel(connection: Connection, row: Row[Any]) -> bool:
    """Cancel a queued job now, ask a running one to stop; whether anything changed.

    Raises ``job_already_terminal`` for a job that succeeded or failed.
    """
    if row.status in (Status.SUCCEEDED, Status.FAILED):
        raise LayercutError("job_already_terminal", f"the job has {row.status}: there is nothing to cancel")
    step = _CANCELLING.get(Status(row.status))
    if step is None:
        return False
    target, kind, reason = step
    move(connection, row, target, new_event(kind, reason), status_reason=reason)
    return True


def to_cancel(connection: Connection, tenant: str | None, wanted: JobFilter, limit: int) -> list[Row[Any]]:
    """At most ``limit`` jobs of the filter that a request to cancel changes, locked: id and status."""
    rows = select(jobs.c.id, jobs.c.status).where(jobs.c.status.in_(_CANCELLING), *wanted.conditions(tenant))
    return list(connection.execute(rows.order_by(jobs.c.id).limit(limit).with_for_update()))


def cancelled(rows: list[Row[Any]]) -> Counter[Status]:
    """What jobs become by being cancelled, as many of each."""
    return Counter(_CANCELLING[Status(row.status)][0] for row in rows)


def retry(connection: Connection, row: Row[Any]) -> bool:
    """Queue a job again that failed or was cancelled, with all its attempts; False where it is queued already.

    Raises ``job_not_terminal``, ``job_not_retryable``, ``quota_exceeded``, and ``job_in_use`` where another job works
    on its files.
    """
    status = Status(row.status)
    if status is Status.QUEUED:
        return False
    check_ended(status, "is asked for again")
    if status is Status.SUCCEEDED:
        raise LayercutError("job_not_retryable", "the job has succeeded: POST it again for another run")
    uses.check_unused(connection, row.id)
    try:
        request, resolved = read_request(row)
        uses.check_kept(connection, row.tenant, uses.sources_of(resolved))
        upload_uses.check_held(connection, row.id, row.tenant)
    except LayercutError as error:
        raise LayercutError("job_not_retryable", error.message) from None
    check_room(connection, row.tenant)
    move(
        connection, row, Status.QUEUED, new_event(EventType.QUEUED, _ASKED_AGAIN), **_FORGOTTEN,
        status_reason=_ASKED_AGAIN, max_attempts=row.attempt + request.limits.max_attempts, losses=0,
        # What it reads may be another by now: whoever knows says so anew.
        fingerprint=None, inputs=None,
        # A row of before there was the column, or of an older gateway, has none.
        formats=formats_of(request),
        # Whoever asks for a job sends its wake-up.
        queued_at=later(), claimable_at=None, woken_at=later(),
    )  # fmt: skip
    return True


def check_ended(status: Status, done: str) -> None:
    """Raise ``job_not_terminal`` for a job that has not ended, with what would help; ``done``: what was asked for."""
    if not status.terminal:
        raise LayercutError(
            "job_not_terminal", f"the job is {status}, and only one that has ended {done}: {_FIRST[status]}"
        )


def remove(connection: Connection, row: Any) -> None:
    """Delete all rows of the job, of which ``row`` has id, tenant and attempt. Its files are swept from then on."""
    # A job that never ran left no files.
    sweep_at = later() if row.attempt else None
    gone = {"id": row.id, "tenant": row.tenant}
    connection.execute(insert(deleted_jobs).values(**gone, deleted_at=later(), sweep_at=sweep_at))
    # What is still on its way to the tenant's own endpoints was promised to them.
    connection.execute(delete(deliveries).where(deliveries.c.job_id == row.id, deliveries.c.due_at.is_(None)))
    connection.execute(delete(jobs).where(jobs.c.id == row.id))


def was_deleted(connection: Connection, job_id: str, tenant: str | None) -> bool:
    """Whether the tenant had such a job, not long ago; None is any tenant."""
    found = [deleted_jobs.c.id == job_id]
    found += [] if tenant is None else [deleted_jobs.c.tenant == tenant]
    return bool(connection.scalar(select(exists().where(*found))))
