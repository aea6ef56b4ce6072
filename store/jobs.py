"""JobStore: the door to everything that is known about jobs. One method is one transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate
from typing import Any

from sqlalchemy import Connection, Engine, Row, Select, Text, cast, exists, func, insert, literal, select

from api_schemas.errors import JobError, LayercutError
from api_schemas.events import Event, EventType, NewEvent, new_event
from api_schemas.jobs import Job, Status
from api_schemas.requests import JobRequest
from api_schemas.resolved import ResolvedRequest
from store import leases, upkeep
from store.audit import Actor, note
from store.columns import later
from store.database import reading
from store.ids import is_job_id, new_job_id
from store.leases import Claim, Lease, LeaseLost
from store.rows import append, claimable, locked, move, not_found, owned, read_events, read_job, read_jobs
from store.tables import DEFAULT_TENANT, job_metadata, jobs
from store.tenants import check_room
from store.upkeep import Reaped

__all__ = ["Claim", "JobStore", "Lease", "LeaseLost", "Reaped"]

#: Of a page of jobs, as JSON: each has its request in it, and all that was resolved of that.
PAGE_BYTES = 4 * 2**20

_LARGE = (jobs.c.request, jobs.c.resolved, jobs.c.progress, jobs.c.result, jobs.c.error)
_SIZE = sum((func.coalesce(func.length(cast(column, Text)), 0) for column in _LARGE), literal(0))

JobPage = tuple[list[Job], bool]
EventPage = tuple[list[Event], bool]
Leftovers = list[tuple[str, str | None]]


class JobStore:
    """Jobs and their events. Safe to share between threads; each process opens its own engine.

    Unknown ids raise ``LayercutError("job_not_found")``; the calls of a worker raise ``LeaseLost``.
    """

    def __init__(
        self, engine: Engine, lease_seconds: float = 60.0, *, retry_seconds: float = 0.0, actor: Actor | None = None
    ) -> None:
        self._engine = engine
        self._lease_seconds, self._retry_seconds = lease_seconds, retry_seconds
        self._actor = actor
        #: Whose jobs what users do is about; None is everybody's.
        self._tenant = None if actor is None else actor.tenant

    def of(self, actor: Actor) -> JobStore:
        """The same, for one tenant: the jobs of others are not there, and what is done stands in the audit log."""
        return JobStore(self._engine, self._lease_seconds, retry_seconds=self._retry_seconds, actor=actor)

    # What users do

    def create(self, request: JobRequest, sent: dict[str, Any], resolved: ResolvedRequest) -> Job:
        """Queue a job. ``sent`` is the body as it came, shown again as it is; ``resolved`` is what will be done.

        Raises ``quota_exceeded`` where the tenant may queue no more.
        """
        job_id, tenant = new_job_id(), self._tenant or DEFAULT_TENANT
        with self._engine.begin() as connection:
            check_room(connection, tenant)
            connection.execute(insert(jobs).values(id=job_id, tenant=tenant, **_new_row(request, sent, resolved)))
            pairs = [{"job_id": job_id, "key": key, "value": value} for key, value in request.metadata.items()]
            if pairs:
                connection.execute(insert(job_metadata), pairs)
            append(connection, job_id, new_event(EventType.QUEUED, "queued"))
            self._note(connection, "job.create", job_id)
            return read_job(connection, job_id)

    def get(self, job_id: str) -> Job:
        with reading(self._engine) as connection:
            return read_job(connection, job_id, self._tenant)

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
            page = select(jobs).where(jobs.c.id.in_(_fitting(found[:limit]))).order_by(jobs.c.id.desc())
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

    def heads(self, job_ids: Collection[str]) -> dict[str, tuple[int, Status]]:
        """Number of the last event and status of each job that exists: one query for all watchers."""
        query = select(jobs.c.id, jobs.c.last_event, jobs.c.status).where(jobs.c.id.in_(job_ids))
        query = query if self._tenant is None else query.where(jobs.c.tenant == self._tenant)
        with reading(self._engine) as connection:
            return {row.id: (row.last_event, Status(row.status)) for row in connection.execute(query)}

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
            leases.finish(connection, lease, event, artifact, size, retry_seconds=self._retry_seconds)
            return read_job(connection, lease.job_id)

    def release(self, lease: Lease, reason: str, error: JobError | None = None) -> Job:
        """The attempt was lost: queue the job again while attempts are left, after ``retry_seconds``, twice as long
        with each loss. Of the last attempt, ``error`` is the job's; without one, it is ``attempts_exhausted``.
        """
        with self._engine.begin() as connection:
            leases.release(connection, lease, reason, error, retry_seconds=self._retry_seconds)
            return read_job(connection, lease.job_id)

    def hand_back(self, lease: Lease, reason: str, error: JobError | None = None) -> Job:
        """The worker has to stop: queue the job again, at no cost to its attempts, in its old place. With an ``error``
        that passes, it has a new place, and waits as after a loss.
        """
        with self._engine.begin() as connection:
            leases.hand_back(connection, lease, reason, error, retry_seconds=self._retry_seconds)
            return read_job(connection, lease.job_id)

    def has_queued(self) -> bool:
        """Whether there is a job that may be claimed now."""
        with reading(self._engine) as connection:
            return bool(connection.scalar(select(exists().where(claimable()))))

    def queued(self, most: int) -> int:
        """How many jobs wait; counted up to ``most``."""
        waiting = select(jobs.c.id).where(jobs.c.status == Status.QUEUED).limit(most).subquery()
        with reading(self._engine) as connection:
            return connection.scalar(select(func.count()).select_from(waiting)) or 0

    # What the reaper does

    def reap(self) -> Reaped:
        """Take back expired leases, fail what waited too long; at most ``upkeep.BATCH`` of each."""
        with self._engine.begin() as connection:
            return upkeep.reap(connection, self._retry_seconds)

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


def _fitting(rows: Sequence[Row[Any]]) -> list[str]:
    """The ids of the first of ``rows`` that one page has room for."""
    sizes = accumulate(row.size for row in rows)
    return [row.id for at, (row, size) in enumerate(zip(rows, sizes, strict=True)) if at == 0 or size <= PAGE_BYTES]


def _with_metadata(query: Select[Any], pairs: Mapping[str, str]) -> Select[Any]:
    for key, value in pairs.items():
        pair = job_metadata.alias()
        query = query.where(exists().where(pair.c.job_id == jobs.c.id, pair.c.key == key, pair.c.value == value))
    return query
