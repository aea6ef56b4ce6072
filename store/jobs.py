"""JobStore: the door to everything that is known about jobs. One method is one transaction."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, exists, func, select

from api_schemas.errors import JobError, LayercutError
from api_schemas.events import Event, EventType, NewEvent
from api_schemas.jobs import Job, Status
from api_schemas.logs import LogPage
from api_schemas.requests import JobRequest
from api_schemas.resolved import ResolvedRequest
from store import leases, lifecycle, listing, logs, retention, upkeep, uses
from store.audit import Actor, note
from store.claims import Claimant, lacking
from store.creating import NewJob, create
from store.database import reading
from store.leases import Claim, Lease, LeaseLost
from store.listing import JobFilter
from store.rows import claimable, locked, not_found, owned, read_events, read_few_jobs, read_job
from store.tables import DEFAULT_TENANT, jobs
from store.upkeep import Reaped

__all__ = ["Claim", "Head", "JobStore", "Lease", "LeaseLost", "Reaped"]

#: The filter that all jobs pass.
ALL = JobFilter()

#: What is to be done in the transaction that has made or changed the job, and with it comes to nothing.
Within = Callable[[Connection, Job], None]

JobPage = tuple[list[Job], bool]
EventPage = tuple[list[Event], bool]


class Head(NamedTuple):
    """Number of a job's last event, its status, and where its log ends, in bytes."""

    number: int
    status: Status
    log_end: int


class JobStore:
    """Jobs and their events. Safe to share between threads; each process opens its own engine.

    Unknown ids raise ``LayercutError("job_not_found")``; the calls of a worker raise ``LeaseLost``.
    """

    def __init__(
        self,
        engine: Engine,
        lease_seconds: float = 60.0,
        *,
        retry_seconds: float = 0.0,
        artifact_days: float = 0.0,
        actor: Actor | None = None,
    ) -> None:
        self._engine = engine
        self._lease_seconds, self._retry_seconds = lease_seconds, retry_seconds
        #: Files are kept so long; 0: for ever.
        self._artifact_days = artifact_days
        self._actor = actor
        #: Whose jobs what users do is about; None is everybody's.
        self._tenant = None if actor is None else actor.tenant
        #: Of claims that the database did not confirm.
        self._unanswered_claims: deque[Lease] = deque()

    def of(self, actor: Actor) -> JobStore:
        """The same, for one tenant: the jobs of others are not there, and what is done stands in the audit log."""
        return JobStore(
            self._engine,
            self._lease_seconds,
            retry_seconds=self._retry_seconds,
            artifact_days=self._artifact_days,
            actor=actor,
        )

    # What users do

    def create(
        self,
        request: JobRequest,
        sent: dict[str, Any],
        resolved: ResolvedRequest,
        within: Within | None = None,
        *,
        key_fingerprint: str = "",
    ) -> Job:
        """Queue a job. ``sent`` is the body as it came, shown again but for the secrets in its webhook's address;
        ``resolved`` is what will be done. ``within`` is called in the same transaction. ``key_fingerprint`` is of the
        key that its webhook's secret is made from.

        Raises ``quota_exceeded`` where the tenant may queue no more, what ``within`` raises, and ``expired`` where the
        files of an earlier job or an upload that it works on are gone: they are kept until it has ended.
        """
        new = NewJob(request, sent, resolved, key_fingerprint)
        with self._engine.begin() as connection:
            job_id = create(connection, self._tenant or DEFAULT_TENANT, new, self._actor)
            job = read_job(connection, job_id)
            if within is not None:
                within(connection, job)
            return job

    def get(self, job_id: str) -> Job:
        with reading(self._engine) as connection:
            return read_job(connection, job_id, self._tenant)

    def get_few(self, job_ids: Collection[str]) -> dict[str, tuple[str, Job]]:
        """Those of the jobs that exist, each with its tenant: one question for all who ask at one time."""
        with reading(self._engine) as connection:
            return read_few_jobs(connection, job_ids)

    def list(self, wanted: JobFilter = ALL, *, after: str | None = None, limit: int = 20) -> JobPage:
        """One page, newest first, and whether there is more. ``after`` is the last id of the page before.

        A page ends before ``limit`` where the next job would not fit into ``listing.PAGE_BYTES``; one job always does.
        Raises ``invalid_cursor`` for an ``after`` that is no job's id.
        """
        with reading(self._engine) as connection:
            return listing.page_of(connection, self._tenant, wanted, after, limit)

    def cancel(self, job_id: str) -> Job:
        """Cancel a queued job now, ask a running one to stop; the second time nothing happens.

        Raises ``job_already_terminal`` for a job that succeeded or failed.
        """
        with self._engine.begin() as connection:
            if lifecycle.cancel(connection, locked(connection, job_id, self._tenant)):
                self._note(connection, "job.cancel", job_id)
            return read_job(connection, job_id)

    def cancel_some(self, wanted: JobFilter, limit: int = 100) -> tuple[Counter[Status], bool]:
        """Cancel at most ``limit`` jobs as ``cancel`` does; how many became what, and whether there are more."""
        with self._engine.begin() as connection:
            found = lifecycle.to_cancel(connection, self._tenant, wanted, limit + 1)
            for row in found[:limit]:
                lifecycle.cancel(connection, row)
                self._note(connection, "job.cancel", row.id)
            return lifecycle.cancelled(found[:limit]), len(found) > limit

    def retry(self, job_id: str, within: Within | None = None) -> Job:
        """Queue a job again that failed or was cancelled; one that is queued stays as it is. ``within``: as ``create``.

        Raises ``job_not_terminal``, ``job_not_retryable``, ``job_in_use`` and ``quota_exceeded``.
        """
        with self._engine.begin() as connection:
            if lifecycle.retry(connection, locked(connection, job_id, self._tenant)):
                self._note(connection, "job.retry", job_id)
            job = read_job(connection, job_id)
            if within is not None:
                within(connection, job)
            return job

    def delete(self, job_id: str) -> None:
        """Delete all that is known of a job that has ended, and have its files swept; again, nothing happens.

        Raises ``job_not_terminal``, and ``job_in_use`` where another job works on its files.
        """
        with self._engine.begin() as connection:
            try:
                row = locked(connection, job_id, self._tenant)
            except LayercutError:
                if lifecycle.was_deleted(connection, job_id, self._tenant):
                    return
                raise
            lifecycle.check_ended(Status(row.status), "is deleted")
            uses.check_unused(connection, job_id)
            lifecycle.remove(connection, row)
            self._note(connection, "job.delete", job_id)

    def events(self, job_id: str, after: int = 0, limit: int = 100, types: Collection[EventType] = ()) -> EventPage:
        """Events with a number above ``after``, oldest first, and whether there are more: at most ``limit``, and no
        more than have ``PAGE_BYTES``; of ``types`` alone, where some are given.
        """
        with reading(self._engine) as connection:
            if connection.execute(select(jobs.c.id).where(owned(job_id, self._tenant))).first() is None:
                raise not_found(job_id)
            return read_events(connection, job_id, after, limit, types)

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
        """The prefix of the published files, once there are some; raises ``expired`` once they are no longer kept."""
        columns = (jobs.c.artifact, jobs.c.expires_at, jobs.c.expired_at)
        with reading(self._engine) as connection:
            row = connection.execute(select(*columns).where(owned(job_id, self._tenant))).first()
        if row is None:
            raise not_found(job_id)
        if row.expired_at is not None:
            raise LayercutError(
                "expired",
                f"the files of this job were kept until {row.expires_at:%Y-%m-%dT%H:%M:%SZ}; POST it again to have them"
                " made anew",
            )
        prefix: str | None = row.artifact
        return prefix

    def delivered(self, job_id: str) -> str:
        """The prefix of what the job delivered, for another job to work on. Raises ``job_not_found``, ``expired``, and
        ``result_not_ready`` where there is nothing.
        """
        with reading(self._engine) as connection:
            return uses.artifact_of(connection, job_id, self._tenant)

    def _note(self, connection: Connection, action: str, target: str) -> None:
        if self._actor is not None:
            note(connection, self._actor, action, target)

    # What a worker does

    def claim(self, worker: str, *, only_default: bool = False, formats: Collection[str] | None = None) -> Claim | None:
        """The best queued job, now running under a new lease; None where nothing is queued that may run.

        It is the best (priority, then age) of the tenant with the fewest running jobs; of several, of the one that
        waited for longest. A tenant at its quota of running jobs waits. ``only_default``: of the default tenant alone.
        ``formats`` are those that the worker writes, by default all: a job that asks for others is left to others.

        Where the database does not confirm a claim, the next call first gives back what that may have taken.
        """
        self._give_back_unanswered()
        claim: Claim | None = None
        try:
            with self._engine.begin() as connection:
                who = Claimant(worker, only_default, lacking(formats))
                claim = leases.claim(connection, who, self._lease_seconds)
        except Exception:
            if claim is not None:  # the commit failed: whether it counts is not known
                self._unanswered_claims.append(claim.lease)
            raise
        return claim

    def _give_back_unanswered(self) -> None:
        while self._unanswered_claims:
            lease = self._unanswered_claims.popleft()
            try:
                with self._engine.begin() as connection:
                    upkeep.give_back_unanswered(connection, lease, self._retry_seconds)
            except Exception:
                self._unanswered_claims.append(lease)
                raise

    def heartbeat(self, lease: Lease) -> Status:
        """Extend the lease; `cancelling` means stop."""
        with self._engine.begin() as connection:
            return leases.heartbeat(connection, lease, self._lease_seconds)

    def record(self, lease: Lease, event: NewEvent, after: int | None = None) -> Event:
        """Number and keep one of the runner's events: STAGE, PROGRESS, RESOLVED, METRIC or LOG. Asked twice with the
        number ``after``, that of the attempt's event before or 0, it writes once.
        """
        with self._engine.begin() as connection:
            return leases.record(connection, lease, event, after)

    def finish(self, lease: Lease, event: NewEvent, artifact: str | None = None, size: int | None = None) -> Job:
        """End the job with a terminal event, and point it at its files, ``size`` bytes, in the same step."""
        with self._engine.begin() as connection:
            leases.finish(
                connection, lease, event, artifact, size,
                retry_seconds=self._retry_seconds, artifact_days=self._artifact_days,
            )  # fmt: skip
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

    def release(self, lease: Lease, reason: str, error: JobError | None = None) -> Job:
        """The attempt was lost: queue the job again while attempts are left, after ``retry_seconds``, twice as long
        with each loss. Of the last attempt, ``error`` is the job's; without one, it is ``attempts_exhausted``.
        """
        with self._engine.begin() as connection:
            leases.release(connection, lease, reason, error, retry_seconds=self._retry_seconds)
            return read_job(connection, lease.job_id)

    def hand_back(self, lease: Lease, reason: str, error: JobError | None = None) -> Job:
        """The worker has to stop: queue the job again, at no cost to its attempts, in its old place. With an ``error``
        that passes, it has a new place, and waits as after a loss; one that has kept it for ``outages.LONGEST`` is the
        job's.
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

    def with_checkpoints(self, job_ids: Collection[str], days: float) -> set[str]:
        """Those of the jobs whose checkpoints are still wanted; of failed and cancelled ones, for ``days``."""
        with reading(self._engine) as connection:
            return retention.with_checkpoints(connection, job_ids, days)

    def sweep_again(self, job_id: str) -> None:
        """Files of an attempt could not be deleted: the gateway's upkeep looks for them, where the job has ended."""
        with self._engine.begin() as connection:
            retention.sweep_again(connection, job_id)

    # What the reaper does

    def reap(self) -> Reaped:
        """Take back expired leases, fail what waited too long; at most ``upkeep.BATCH`` of each."""
        with self._engine.begin() as connection:
            return upkeep.reap(connection, self._retry_seconds)

    def due_wakeups(self, older_than_seconds: float) -> int:
        """How many queued jobs had no wake-up for that long; the caller sends as many."""
        with self._engine.begin() as connection:
            return upkeep.due_wakeups(connection, older_than_seconds)
