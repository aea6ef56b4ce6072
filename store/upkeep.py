"""What must be done again and again by someone: lost leases, old waiters, lost messages.

Every function may run in many processes at once: a row that another has in hand is passed over.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, or_, select, update

from api_schemas.errors import LayercutError
from api_schemas.jobs import Status
from store.columns import later
from store.leases import Lease, LeaseLost, fail, hand_back, lose
from store.rows import ACTIVE, claimable
from store.tables import jobs

# Rows locked by one call at most: the next call takes the rest.
BATCH = 100

#: Why a job is given back that nobody began.
UNANSWERED = "the database did not confirm that a worker had taken it"


@dataclass(frozen=True)
class Reaped:
    """The ids of the jobs that one call changed, by what they became."""

    requeued: list[str] = field(default_factory=list)
    exhausted: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    timed_out: list[str] = field(default_factory=list)


def reap(connection: Connection, retry_seconds: float) -> Reaped:
    """Take back expired leases; fail what waited in the queue for longer than it may."""
    reaped = Reaped()
    became = {
        Status.QUEUED: reaped.requeued,
        Status.FAILED: reaped.exhausted,
        Status.CANCELLED: reaped.cancelled,
    }
    for row in connection.execute(_free(jobs.c.status.in_(ACTIVE), jobs.c.lease_expires_at < later())).all():
        reason = f"worker {row.worker} was not heard of within its lease"
        became[lose(connection, row, reason, retry_seconds)].append(row.id)
    for row in connection.execute(_free(jobs.c.status == Status.QUEUED, jobs.c.queue_expires_at < later())).all():
        fail(connection, row, _waited(row))
        reaped.timed_out.append(row.id)
    return reaped


def give_back_unanswered(connection: Connection, lease: Lease, retry_seconds: float) -> None:
    """Queue the job of a claim again that was not confirmed, where it counted all the same. It costs no attempt."""
    # By its id alone: a look for the token would not wait for a commit that is still under way.
    connection.execute(select(jobs.c.id).where(jobs.c.id == lease.job_id).with_for_update())
    with suppress(LeaseLost):
        hand_back(connection, lease, UNANSWERED, retry_seconds=retry_seconds)


def due_wakeups(connection: Connection, older_than_seconds: float) -> int:
    """How many jobs that may be claimed had no wake-up sent for them lately; they count as woken from now on."""
    due = select(jobs.c.id).where(
        claimable(),
        or_(jobs.c.woken_at.is_(None), jobs.c.woken_at < later(-older_than_seconds)),
    )
    wake = update(jobs).where(jobs.c.id.in_(due.with_for_update(skip_locked=True))).values(woken_at=later())
    return connection.execute(wake).rowcount


def _free(*where: ColumnElement[bool]) -> Select[Any]:
    return select(jobs).where(*where).order_by(jobs.c.id).limit(BATCH).with_for_update(skip_locked=True)


def _waited(row: Row[Any]) -> LayercutError:
    return LayercutError(
        "queue_timeout", f"no worker was free within limits.max_queue_seconds = {row.max_queue_seconds}"
    )
