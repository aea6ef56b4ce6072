"""How long things are kept: files of jobs that have ended, their rows, their logs, keys of requests, deliveries.

Every call does a bounded piece, and may run in many processes at once.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, Table, delete, exists, or_, select, tuple_, update

from api_schemas.errors import RULE_BREAKERS
from api_schemas.jobs import Status
from store.columns import later
from store.database import reading
from store.lifecycle import remove
from store.tables import WITHOUT_FILES, deleted_jobs, deliveries, idempotency, job_logs, jobs
from store.uses import is_used, used

#: Jobs of one call, rows of other tables, and jobs whose logs go.
JOBS, ROWS, LOGS = 100, 1000, 10

#: What goes with the jobs of one call, so that others need not wait for long: events, and bytes of logs.
EVENTS, LOG_BYTES = 20_000, 64 * 2**20

DAY = 24 * 3600.0

#: Files of a job are looked for once more so long after its end: a worker that was frozen may have written since.
LAST_LOOK_DAYS = 30.0

#: That a job was deleted is known for so long.
DELETED_DAYS = LAST_LOOK_DAYS

#: A message that is tried again, or once more on request, is so for less than that.
WAITED_DAYS = 14.0

#: What cannot be swept waits as long again as it has waited already, within these bounds, in seconds.
SHORTEST_DELAY, LONGEST_DELAY = 5.0, 3600.0

_ERROR_CODE = jobs.c.error["code"].as_string()


@dataclass(frozen=True)
class Leftover:
    """Files of a job that has ended. Those of attempts after ``attempt`` are not meant: it was asked for again then."""

    job_id: str
    attempt: int
    #: The prefix of the artifact that stays.
    keep: str | None
    checkpoints: bool
    #: What ``sweep_at`` was: a job that has ended once more in the meantime is due again.
    due: datetime
    #: When to come again: for the checkpoints, and for what a frozen worker writes.
    again: datetime | None
    waited_seconds: float


@dataclass(frozen=True)
class DeletedJob:
    """Files of a job whose rows are gone."""

    job_id: str
    waited_seconds: float


def checkpoints_end(status: Status, finished_at: datetime, error_code: str | None, days: float) -> datetime | None:
    """Until when the checkpoints of a job are kept; None where that is not known, as it has not ended.

    For a retry: those of a job that succeeded go at once. A runner that broke the rules is not believed again.
    """
    if not status.terminal:
        return None
    kept = status is not Status.SUCCEEDED and error_code not in RULE_BREAKERS
    return finished_at + timedelta(days=days) if kept else finished_at


class RetentionStore:
    """One method is one transaction. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # Files of jobs that have ended

    def unswept(self, older_than_seconds: float, checkpoint_days: float, limit: int = JOBS) -> list[Leftover]:
        """What is due. A worker that lost its lease may still be writing: it is given time to notice."""
        now = later().label("now")
        due = (jobs.c.sweep_at < later(), jobs.c.finished_at < later(-older_than_seconds))
        columns = (jobs.c.id, jobs.c.status, jobs.c.attempt, jobs.c.artifact, jobs.c.expired_at, jobs.c.finished_at)
        query = select(*columns, jobs.c.sweep_at, _ERROR_CODE.label("code"), now)
        with reading(self._engine) as connection:
            rows = connection.execute(query.where(*due).order_by(jobs.c.sweep_at).limit(limit)).all()
        return [_leftover(row, checkpoint_days) for row in rows]

    def swept(self, job: Leftover) -> None:
        """All that was due is gone; what is due later, or may come, is looked for then."""
        self._come_again(job, sweep_at=job.again, swept_at=later())

    def put_off(self, job: Leftover) -> None:
        """Something could not be deleted: it is tried again after a time that grows."""
        self._come_again(job, sweep_at=later(delay(job.waited_seconds)))

    def _come_again(self, job: Leftover, **values: Any) -> None:
        # Where the job was asked for again, and has ended again, its new end is due and not this one.
        same = (jobs.c.id == job.job_id, jobs.c.attempt == job.attempt, jobs.c.sweep_at == job.due)
        with self._engine.begin() as connection:
            connection.execute(update(jobs).where(*same).values(**values))

    def expire(self) -> list[str]:
        """The jobs whose files were kept for their time: nobody is given them from now on, and they are to be swept.

        Files that another job works on stay until it has ended.
        """
        due = (jobs.c.expired_at.is_(None), jobs.c.expires_at < later(), jobs.c.finished_at.is_not(None), ~is_used())
        gone = {"expired_at": later(), "sweep_at": later(), "bytes": None}
        with self._engine.begin() as connection:
            locked = _some_ids(connection, *due, limit=JOBS)
            # Once more: a job that was taken since the question was asked has let go of its source's row by now.
            now_used = used(connection, locked)
            ids = [job_id for job_id in locked if job_id not in now_used]
            connection.execute(update(jobs).where(jobs.c.id.in_(ids)).values(**gone))
        return ids

    def set_expiry(self, artifact_days: float) -> int:
        """Files that have no time to be kept for have one from now on: those of before there was any. How many."""
        kept = (jobs.c.artifact.is_not(None), jobs.c.expires_at.is_(None), jobs.c.finished_at.is_not(None))
        with self._engine.begin() as connection:
            return len(_set(connection, {"expires_at": later(artifact_days * DAY)}, *kept))

    def adopt(self, artifact_days: float) -> list[str]:
        """What an older layercut, which may run beside, wrote without knowing of times: it has them from now on."""
        lately = jobs.c.finished_at > later(-DAY)
        kept = (lately, jobs.c.artifact.is_not(None), jobs.c.expires_at.is_(None), jobs.c.expired_at.is_(None))
        unknown = (lately, jobs.c.attempt > 0, jobs.c.sweep_at.is_(None), jobs.c.swept_at.is_(None))
        waits = (jobs.c.status == Status.QUEUED, jobs.c.queued_at.is_(None))
        with self._engine.begin() as connection:
            found = [
                *_set(connection, {"queued_at": jobs.c.created_at}, *waits),
                *_set(connection, {"sweep_at": jobs.c.finished_at}, *unknown),
            ]
            if artifact_days:
                found += _set(connection, {"expires_at": later(artifact_days * DAY)}, *kept)
        return found

    # Files of jobs that were deleted

    def deleted(self, limit: int = JOBS) -> list[DeletedJob]:
        """Those whose files are due."""
        query = select(deleted_jobs, later().label("now"))
        query = query.where(deleted_jobs.c.sweep_at < later()).order_by(deleted_jobs.c.sweep_at).limit(limit)
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
        return [DeletedJob(row.id, (row.now - row.deleted_at).total_seconds()) for row in rows]

    def deleted_swept(self, job: DeletedJob, sweep_after_seconds: float) -> None:
        """Its files are gone. They are looked for again once a worker has had time to notice, and before the job is
        forgotten: one that was frozen for longer has written since.
        """
        moments = (sweep_after_seconds, DELETED_DAYS * DAY)
        waits = next((moment - job.waited_seconds for moment in moments if job.waited_seconds < moment), None)
        self._sweep_deleted_at(job, None if waits is None else later(waits))

    def put_off_deleted(self, job: DeletedJob) -> None:
        """As ``put_off``."""
        self._sweep_deleted_at(job, later(delay(job.waited_seconds)))

    def _sweep_deleted_at(self, job: DeletedJob, moment: Any) -> None:
        with self._engine.begin() as connection:
            connection.execute(update(deleted_jobs).where(deleted_jobs.c.id == job.job_id).values(sweep_at=moment))

    def forget_deleted(self) -> int:
        """That jobs were deleted long ago is forgotten, where nothing is left of them."""
        gone = (deleted_jobs.c.deleted_at < later(-DELETED_DAYS * DAY), deleted_jobs.c.sweep_at.is_(None))
        return self._delete_some(deleted_jobs, *gone)

    # Rows

    def remove_ended(self, days: float) -> list[str]:
        """Delete jobs that ended so long ago and have no files any more, as their users would; the ids."""
        logged = (jobs.c.log_end - jobs.c.log_start).label("logged")
        columns = (jobs.c.id, jobs.c.tenant, jobs.c.attempt, jobs.c.last_event, logged)
        # In the words of the index, which is used for no others.
        is_old = (jobs.c.finished_at < later(-days * DAY), WITHOUT_FILES)
        old = select(*columns).where(*is_old).order_by(jobs.c.finished_at)
        with self._engine.begin() as connection:
            rows = connection.execute(old.limit(JOBS).with_for_update(skip_locked=True)).all()
            shares = accumulate(row.last_event / EVENTS + row.logged / LOG_BYTES for row in rows)
            some = [row for at, (row, share) in enumerate(zip(rows, shares, strict=True)) if at == 0 or share <= 1]
            for row in some:
                remove(connection, row)
        return [row.id for row in some]

    def remove_logs(self, days: float) -> list[str]:
        """Delete the logs of jobs that ended so long ago; the ids of the jobs."""
        ended = exists().where(jobs.c.id == job_logs.c.job_id, jobs.c.finished_at < later(-days * DAY))
        old = select(job_logs.c.job_id).distinct().where(job_logs.c.created_at < later(-days * DAY), ended)
        with self._engine.begin() as connection:
            found = connection.scalars(old.limit(LOGS)).all()
            ids = _some_ids(connection, jobs.c.id.in_(found), jobs.c.finished_at < later(-days * DAY), limit=LOGS)
            connection.execute(delete(job_logs).where(job_logs.c.job_id.in_(ids)))
            connection.execute(update(jobs).where(jobs.c.id.in_(ids)).values(log_start=jobs.c.log_end))
        return ids

    def forget_keys(self, hours: float) -> int:
        """Of ``Idempotency-Key``; how many."""
        return self._delete_some(idempotency, idempotency.c.created_at < later(-hours * 3600))

    def remove_deliveries(self, days: float) -> int:
        """Of webhooks, those that are over, and those that have waited for their key to come back; how many."""
        is_over = deliveries.c.due_at.is_(None)
        gone = (
            deliveries.c.created_at < later(-days * DAY),
            or_(is_over, deliveries.c.created_at < later(-(days + WAITED_DAYS) * DAY)),
        )
        return self._delete_some(deliveries, *gone)

    def _delete_some(self, table: Table, *where: ColumnElement[bool]) -> int:
        key = tuple_(*table.primary_key.columns)
        some = select(*table.primary_key.columns).where(*where).limit(ROWS).with_for_update(skip_locked=True)
        with self._engine.begin() as connection:
            found = [tuple(row) for row in connection.execute(some)]
            return connection.execute(delete(table).where(key.in_(found))).rowcount if found else 0


def sweep_again(connection: Connection, job_id: str) -> None:
    """The files of a job that has ended are due once more; of any other, its end makes them so."""
    ended = (jobs.c.id == job_id, jobs.c.finished_at.is_not(None))
    connection.execute(update(jobs).where(*ended).values(sweep_at=later()))


def with_checkpoints(connection: Connection, job_ids: Collection[str], days: float) -> set[str]:
    """Those of the jobs whose checkpoints are still wanted: they have not ended, or may be asked for again."""
    columns = (jobs.c.id, jobs.c.status, jobs.c.finished_at, _ERROR_CODE.label("code"), later().label("now"))
    rows = connection.execute(select(*columns).where(jobs.c.id.in_(job_ids)))
    ends = {row.id: (checkpoints_end(Status(row.status), row.finished_at, row.code, days), row.now) for row in rows}
    return {job_id for job_id, (end, now) in ends.items() if end is None or end > now}


def _leftover(row: Row[Any], checkpoint_days: float) -> Leftover:
    end = checkpoints_end(Status(row.status), row.finished_at, row.code, checkpoint_days)
    moments = [moment for moment in (end, row.finished_at + timedelta(days=LAST_LOOK_DAYS)) if moment is not None]
    return Leftover(
        job_id=row.id,
        attempt=row.attempt,
        keep=None if row.expired_at else row.artifact,
        checkpoints=end is None or end <= row.now,
        due=row.sweep_at,
        again=min((moment for moment in moments if moment > row.now), default=None),
        waited_seconds=(row.now - row.finished_at).total_seconds(),
    )


def _some_ids(connection: Connection, *where: ColumnElement[bool], limit: int) -> list[str]:
    """Of rows that are locked now, and that nobody else has in hand."""
    query = select(jobs.c.id).where(*where).order_by(jobs.c.id).limit(limit)
    return list(connection.scalars(query.with_for_update(skip_locked=True)))


def _set(connection: Connection, values: dict[str, Any], *where: ColumnElement[bool]) -> list[str]:
    ids = _some_ids(connection, *where, limit=ROWS)
    if ids:
        connection.execute(update(jobs).where(jobs.c.id.in_(ids)).values(values))
    return ids


def delay(waited_seconds: float) -> float:
    """For how long what could not be swept for so long is put off."""
    return min(max(waited_seconds, SHORTEST_DELAY), LONGEST_DELAY)
