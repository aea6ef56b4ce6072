"""JobStore: the door to everything that is known about jobs. One method is one transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Row, Select, Text, cast, exists, func, insert, literal, select

from api_schemas.errors import LayercutError
from api_schemas.events import Event, EventType, NewEvent, new_event
from api_schemas.jobs import Job, Status
from api_schemas.logs import LogPage
from api_schemas.requests import JobRequest
from api_schemas.resolved import ResolvedRequest
from api_schemas.webhook_requests import without_secrets
from store import leases, logs, upkeep
from store.audit import Actor, note
from store.columns import later
from store.database import reading
from store.ids import is_job_id, new_job_id
from store.leases import Claim, Lease, LeaseLost
from store.rows import (
    SHOWN,
    append,
    locked,
    move,
    not_found,
    owned,
    read_events,
    read_few_jobs,
    read_job,
    read_jobs,
)
from store.tables import DEFAULT_TENANT, job_metadata, jobs
from store.tenants import check_room
from store.upkeep import Reaped
from store.webhooks import add_for_job

__all__ = ["Claim", "Head", "JobStore", "Lease", "LeaseLost", "Reaped"]

#: Of a page of jobs, as JSON: each has its request in it, and all that was resolved of that.
PAGE_BYTES = 4 * 2**20

_LARGE = (jobs.c.request, jobs.c.resolved, jobs.c.progress, jobs.c.result, jobs.c.error)
_SIZE = sum((func.coalesce(func.length(cast(column, Text)), 0) for column in _LARGE), literal(0))

JobPage = tuple[list[Job], bool]
EventPage = tuple[list[Event], bool]
Leftovers = list[tuple[str, str | None]]


class Head(NamedTuple):
    """Number of a job's last event, its status, and where its log ends, in bytes."""

    number: int
    status: Status
    log_end: int


class JobStore:
    """Jobs and their events. Safe to share between threads; each process opens its own engine.

    Unknown ids raise ``LayercutError("job_not_found")``; the calls of a worker raise ``LeaseLost``.
    """

    def __init__(self, engine: Engine, lease_seconds: float = 60.0, *, actor: Actor | None = None) -> None:
        self._engine = engine
        self._lease_seconds = lease_seconds
        self._actor = actor
        #: Whose jobs what users do is about; None is everybody's.
        self._tenant = None if actor is None else actor.tenant

    def of(self, actor: Actor) -> JobStore:
        """The same, for one tenant: the jobs of others are not there, and what is done stands in the audit log."""
        return JobStore(self._engine, self._lease_seconds, actor=actor)

    # What users do

    def create(
        self, request: JobRequest, sent: dict[str, Any], resolved: ResolvedRequest, *, key_fingerprint: str = ""
    ) -> Job:
        """Queue a job. ``sent`` is the body as it came, shown again but for the secrets in its webhook's address;
        ``resolved`` is what will be done. ``key_fingerprint`` is of the key that its webhook's secret is made from.

        Raises ``quota_exceeded`` where the tenant may queue no more.
        """
        job_id, tenant = new_job_id(), self._tenant or DEFAULT_TENANT
        with self._engine.begin() as connection:
            check_room(connection, tenant)
            row = {**_new_row(request, without_secrets(sent), resolved), **_asked_by(self._actor)}
            connection.execute(insert(jobs).values(id=job_id, tenant=tenant, **row))
            if request.webhook is not None:
                add_for_job(connection, job_id, tenant, request.webhook, key_fingerprint)
            pairs = [{"job_id": job_id, "key": key, "value": value} for key, value in request.metadata.items()]
            if pairs:
                connection.execute(insert(job_metadata), pairs)
            append(connection, job_id, new_event(EventType.QUEUED, "queued"))
            self._note(connection, "job.create", job_id)
            return read_job(connection, job_id)

    def get(self, job_id: str) -> Job:
        with reading(self._engine) as connection:
            return read_job(connection, job_id, self._tenant)

    def get_few(self, job_ids: Collection[str]) -> dict[str, tuple[str, Job]]:
        """Those of the jobs that exist, each with its tenant: one question for all who ask at one time."""
        with reading(self._engine) as connection:
            return read_few_jobs(connection, job_ids)

    def list(
        self,
        *,
        after: str | None = None,
        limit: int = 20,
        status: Status | None = None,
        task: str | None = None,
        model: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> JobPage:
        """One page, newest first, and whether there is more. ``after`` is the last id of the page before.

        A page ends before ``limit`` where the next job would not fit into ``PAGE_BYTES``; one job always does.
        Raises ``invalid_cursor`` for an ``after`` that is no job's id.
        """
        if after is not None and not is_job_id(after):
            raise LayercutError("invalid_cursor", f"{after[:80]!r} is not the id of a job of this list", param="after")
        query = select(jobs.c.id, _SIZE.label("size")).order_by(jobs.c.id.desc()).limit(limit + 1)
        wanted = ((jobs.c.tenant, self._tenant), (jobs.c.status, status), (jobs.c.task, task), (jobs.c.model, model))
        for column, value in wanted:
            query = query if value is None else query.where(column == value)
        query = query if after is None else query.where(jobs.c.id < after)
        with reading(self._engine) as connection:
            found = connection.execute(_with_metadata(query, metadata or {})).all()
            page = SHOWN.where(jobs.c.id.in_(_fitting(found[:limit]))).order_by(jobs.c.id.desc())
            listed = read_jobs(connection, page)
        return listed, len(found) > len(listed)

    def cancel(self, job_id: str) -> Job:
        """Cancel a queued job now, ask a running one to stop; the second time nothing happens.

        Raises ``job_already_terminal`` for a job that succeeded or failed.
        """
        with self._engine.begin() as connection:
            row = locked(connection, job_id, self._tenant)
            if row.status in (Status.SUCCEEDED, Status.FAILED):
                raise LayercutError("job_already_terminal", f"the job has {row.status}: there is nothing to cancel")
            step = _CANCELLING.get(Status(row.status))
            if step is not None:
                target, kind, reason = step
                move(connection, row, target, new_event(kind, reason), status_reason=reason)
                self._note(connection, "job.cancel", job_id)
            return read_job(connection, job_id)

    def events(self, job_id: str, after: int = 0, limit: int = 100) -> EventPage:
        """Events with a number above ``after``, oldest first, and whether there are more: at most ``limit``, and no
        more than have ``PAGE_BYTES``.
        """
        with reading(self._engine) as connection:
            if connection.execute(select(jobs.c.id).where(owned(job_id, self._tenant))).first() is None:
                raise not_found(job_id)
            return read_events(connection, job_id, after, limit)

    def log(self, job_id: str, offset: int = 0, limit: int = 64 * 1024) -> LogPage:
        """What its runners said from ``offset`` on, at most ``limit`` bytes. Raises ``expired`` where it is gone."""
        with reading(self._engine) as connection:
            return logs.read_log(connection, job_id, self._tenant, offset, limit)

    def heads(self, job_ids: Collection[str]) -> dict[str, Head]:
        """How far each job is that exists: one query for all watchers."""
        query = select(jobs.c.id, jobs.c.last_event, jobs.c.status, jobs.c.log_end).where(jobs.c.id.in_(job_ids))
        query = query if self._tenant is None else query.where(jobs.c.tenant == self._tenant)
        with reading(self._engine) as connection:
            return {row.id: Head(row.last_event, Status(row.status), row.log_end) for row in connection.execute(query)}

    def artifact(self, job_id: str) -> str | None:
        """The prefix of the published files, once there are some."""
        with reading(self._engine) as connection:
            row = connection.execute(select(jobs.c.artifact).where(owned(job_id, self._tenant))).first()
        if row is None:
            raise not_found(job_id)
        prefix: str | None = row.artifact
        return prefix

    def _note(self, connection: Connection, action: str, target: str) -> None:
        if self._actor is not None:
            note(connection, self._actor, action, target)

    # What a worker does

    def claim(self, worker: str, *, only_default: bool = False) -> Claim | None:
        """The best queued job, now running under a new lease; None where nothing is queued that may run.

        It is the best (priority, then age) of the tenant with the fewest running jobs; of several, of the one that
        waited for longest. A tenant at its quota of running jobs waits. ``only_default``: of the default tenant alone.
        """
        with self._engine.begin() as connection:
            return leases.claim(connection, worker, self._lease_seconds, only_default=only_default)

    def heartbeat(self, lease: Lease) -> Status:
        """Extend the lease; `cancelling` means stop."""
        with self._engine.begin() as connection:
            return leases.heartbeat(connection, lease, self._lease_seconds)

    def record(self, lease: Lease, event: NewEvent) -> Event:
        """Number and keep one of the runner's events: STAGE, PROGRESS, RESOLVED, METRIC or LOG."""
        with self._engine.begin() as connection:
            return leases.record(connection, lease, event)

    def finish(self, lease: Lease, event: NewEvent, artifact: str | None = None, size: int | None = None) -> Job:
        """End the job with a terminal event, and point it at its files, ``size`` bytes, in the same step."""
        with self._engine.begin() as connection:
            leases.finish(connection, lease, event, artifact, size)
            return read_job(connection, lease.job_id)

    def log_end(self, lease: Lease) -> int:
        """Where the job's log goes on."""
        with reading(self._engine) as connection:
            return logs.log_end(connection, lease)

    def write_log(self, lease: Lease, text: str, at: int, keep: int) -> int:
        """Write down what a runner said, at the log's end ``at``; the new end. Asked twice, it writes once. The oldest
        of more than ``keep`` bytes goes.
        """
        with self._engine.begin() as connection:
            return logs.write_log(connection, lease, text, at, keep)

    def release(self, lease: Lease, reason: str) -> Job:
        """The runner was lost: queue the job again while attempts are left."""
        with self._engine.begin() as connection:
            leases.release(connection, lease, reason)
            return read_job(connection, lease.job_id)

    def hand_back(self, lease: Lease, reason: str) -> Job:
        """The worker has to stop: queue the job again, at no cost to its attempts."""
        with self._engine.begin() as connection:
            leases.hand_back(connection, lease, reason)
            return read_job(connection, lease.job_id)

    def has_queued(self) -> bool:
        with reading(self._engine) as connection:
            return bool(connection.scalar(select(exists().where(jobs.c.status == Status.QUEUED))))

    def queued(self, most: int) -> int:
        """How many jobs wait; counted up to ``most``."""
        waiting = select(jobs.c.id).where(jobs.c.status == Status.QUEUED).limit(most).subquery()
        with reading(self._engine) as connection:
            return connection.scalar(select(func.count()).select_from(waiting)) or 0

    # What the reaper does

    def reap(self) -> Reaped:
        """Take back expired leases, fail what waited too long; at most ``upkeep.BATCH`` of each."""
        with self._engine.begin() as connection:
            return upkeep.reap(connection)

    def due_wakeups(self, older_than_seconds: float) -> int:
        """How many queued jobs had no wake-up for that long; the caller sends as many."""
        with self._engine.begin() as connection:
            return upkeep.due_wakeups(connection, older_than_seconds)

    def unswept(self, older_than_seconds: float, limit: int = 100) -> Leftovers:
        """Jobs that ended that long ago, with the artifact to keep: losers' folders may still lie about."""
        with reading(self._engine) as connection:
            return upkeep.unswept(connection, older_than_seconds, limit)

    def mark_swept(self, job_id: str) -> None:
        with self._engine.begin() as connection:
            upkeep.mark_swept(connection, job_id)


# What a request to cancel does, by the status that it meets.
_CANCELLING: dict[Status, tuple[Status, EventType, str]] = {
    Status.QUEUED: (Status.CANCELLED, EventType.CANCELLED, "cancelled on request, in the queue"),
    Status.RUNNING: (Status.CANCELLING, EventType.CANCELLING, "cancelled on request"),
}


def _new_row(request: JobRequest, sent: dict[str, Any], resolved: ResolvedRequest) -> dict[str, Any]:
    return {
        "status": Status.QUEUED,
        "priority": request.priority,
        "model": request.model.id,
        "task": request.task.label,
        "created_at": later(),
        "queued_at": later(),
        "request": sent,
        "pinned": resolved.model_dump(mode="json"),
        "resolved": resolved.model_dump(mode="json"),
        "progress": {},
        "attempt": 0,
        "max_attempts": request.limits.max_attempts,
        "max_queue_seconds": request.limits.max_queue_seconds,
        "queue_expires_at": later(request.limits.max_queue_seconds),
        # Whoever creates a job sends its wake-up; only where that is lost is another due.
        "woken_at": later(),
        "last_event": 0,
    }


def _asked_by(actor: Actor | None) -> dict[str, Any]:
    return {} if actor is None else {"request_id": actor.request_id, "traceparent": actor.traceparent}


def _fitting(rows: Sequence[Row[Any]]) -> list[str]:
    """The ids of the first of ``rows`` that one page has room for."""
    sizes = accumulate(row.size for row in rows)
    return [row.id for at, (row, size) in enumerate(zip(rows, sizes, strict=True)) if at == 0 or size <= PAGE_BYTES]


def _with_metadata(query: Select[Any], pairs: Mapping[str, str]) -> Select[Any]:
    for key, value in pairs.items():
        pair = job_metadata.alias()
        query = query.where(exists().where(pair.c.job_id == jobs.c.id, pair.c.key == key, pair.c.value == value))
    return query
