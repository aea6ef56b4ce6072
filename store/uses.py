"""Jobs that work on what earlier jobs delivered: which files that is, and that they stay until all who need them ended.

Whoever takes them up holds the earlier job's row meanwhile, and so does whoever lets them go: neither overlooks the
other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, insert, select

from api_schemas.delivered import Delivered
from api_schemas.errors import LayercutError
from api_schemas.jobs import Status
from api_schemas.resolved import ResolvedRequest
from store.rows import ACTIVE, not_found, owned
from store.tables import deleted_jobs, job_uses, jobs

#: Of a job that may still read the files that it was told of.
NOT_ENDED = (Status.QUEUED, *ACTIVE)


def artifact_of(connection: Connection, job_id: str, tenant: str | None) -> str:
    """Where the files lie that the job delivered. Raises ``job_not_found``, also for another tenant's;
    ``result_not_ready``; ``expired`` where they, or the job, are kept no more.
    """
    row = connection.execute(_FILES.where(owned(job_id, tenant))).first()
    if row is None:
        raise _gone(connection, job_id, tenant)
    return _artifact(row)


def hold(connection: Connection, job_id: str, sources: Collection[Delivered]) -> None:
    """Keep the files of ``sources``, which ``check_kept`` has just found, until the job has ended."""
    if sources:
        rows = [{"job_id": job_id, "source_id": source} for source in {source.job for source in sources}]
        connection.execute(insert(job_uses), rows)


def check_kept(connection: Connection, tenant: str, sources: Iterable[Delivered]) -> None:
    """Raise as ``artifact_of`` where files that were pinned are gone, and ``expired`` where they are others by now.

    The jobs that they are of stay locked until the transaction ends.
    """
    # The newest first, as whoever has locked a job goes on to those that are older.
    for source in sorted(sources, key=lambda source: source.job, reverse=True):
        row = connection.execute(_FILES.where(owned(source.job, tenant)).with_for_update()).first()
        if row is None:
            raise _gone(connection, source.job, tenant)
        if _artifact(row) != source.artifact:
            raise LayercutError(
                "expired", f"{source.job} was run again, and what it had delivered before is gone: POST the job again"
            )


def check_unused(connection: Connection, job_id: str) -> None:
    """Raise ``job_in_use`` where another job is to work on the files of this one, whose row is locked."""
    using = select(job_uses.c.job_id).where(job_uses.c.source_id == job_id, _not_ended()).order_by(job_uses.c.job_id)
    user = connection.scalar(using.limit(1))
    if user is not None:
        raise LayercutError(
            "job_in_use", f"{user} works on the files of this job: cancel it, or wait until it has ended"
        )


def used(connection: Connection, job_ids: Collection[str]) -> set[str]:
    """Those of the jobs whose files others work on."""
    using = select(job_uses.c.source_id).where(job_uses.c.source_id.in_(job_ids), _not_ended())
    return set(connection.scalars(using))


def is_used() -> ColumnElement[bool]:
    """Of a row of ``jobs``: whether others work on its files."""
    return exists().where(job_uses.c.source_id == jobs.c.id, _not_ended())


def sources_of(resolved: ResolvedRequest) -> list[Delivered]:
    """What the job works on of what earlier ones delivered."""
    return [source for source in (resolved.delivered, resolved.start) if source is not None]


_FILES = select(jobs.c.id, jobs.c.status, jobs.c.artifact, jobs.c.error, jobs.c.expires_at, jobs.c.expired_at)


def _not_ended() -> ColumnElement[bool]:
    user = jobs.alias("user")
    return exists().where(user.c.id == job_uses.c.job_id, user.c.status.in_(NOT_ENDED)).correlate(job_uses)


def _artifact(row: Any) -> str:
    if row.expired_at is not None:
        raise LayercutError("expired", f"the files of {row.id} were kept until {row.expires_at:%Y-%m-%dT%H:%M:%SZ}")
    if row.artifact is None:
        status = Status(row.status)
        why = f": {row.error['message']}" if row.error else ""
        ended = f"has {status} and delivered no model{why}" if status.terminal else f"is {status}: wait for its end"
        raise LayercutError("result_not_ready", f"{row.id} {ended}")
    return str(row.artifact)


def _gone(connection: Connection, job_id: str, tenant: str | None) -> LayercutError:
    of_tenant = [] if tenant is None else [deleted_jobs.c.tenant == tenant]
    if connection.scalar(select(exists().where(deleted_jobs.c.id == job_id, *of_tenant))):
        return LayercutError("expired", f"{job_id[:80]} was deleted, and its files with it")
    return not_found(job_id)
