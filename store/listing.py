"""Which jobs are meant: filters of a list and of what is done to many at once, and one page of a list."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from typing import Any

from sqlalchemy import ColumnElement, Connection, Integer, Text, cast, func, literal, literal_column, select

from api_schemas.errors import LayercutError
from api_schemas.jobs import Job, Status
from api_schemas.names import spelled
from api_schemas.tasks import TASKS
from store.ids import is_job_id
from store.rows import SHOWN, read_jobs
from store.tables import job_metadata, jobs

#: Of a page of jobs, as JSON: each has its request in it, and all that was resolved of that.
PAGE_BYTES = 4 * 2**20

_LARGE = (jobs.c.request, jobs.c.resolved, jobs.c.progress, jobs.c.result, jobs.c.error)
_SIZE = sum((func.coalesce(func.length(cast(column, Text)), 0) for column in _LARGE), literal(0))


@dataclass(frozen=True)
class JobFilter:
    """All that is set must hold; of ``statuses`` and ``ids``, one. A ``task`` of GLUE in any spelling. Times are of the
    job's creation.
    """

    statuses: Collection[Status] = ()
    task: str | None = None
    model: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    created_after: datetime | None = None
    created_before: datetime | None = None
    ids: Collection[str] | None = None
    study: str | None = None

    def conditions(self, tenant: str | None) -> list[ColumnElement[bool]]:
        """Of rows of ``jobs``; a ``tenant`` of None is any."""
        task = spelled(self.task, (*TASKS, "none"))
        equal = (
            (jobs.c.tenant, tenant), (jobs.c.task, task), (jobs.c.model, self.model), (jobs.c.study_id, self.study),
        )  # fmt: skip
        found = [column == value for column, value in equal if value is not None]
        if self.statuses:
            found.append(jobs.c.status.in_(self.statuses))
        if self.created_after is not None:
            found.append(jobs.c.created_at > self.created_after)
        if self.created_before is not None:
            found.append(jobs.c.created_at < self.created_before)
        if self.ids is not None:
            found.append(jobs.c.id.in_(self.ids))
        return found + [_has(key, value) for key, value in self.metadata.items()]


def page_of(
    connection: Connection, tenant: str | None, wanted: JobFilter, after: str | None, limit: int
) -> tuple[list[Job], bool]:
    """One page, newest first, and whether there is more; as ``JobStore.list``."""
    if after is not None and not is_job_id(after):
        raise LayercutError("invalid_cursor", f"{after[:80]!r} is not the id of a job of this list", param="after")
    # A number and no parameter: PostgreSQL plans a statement that comes often for a tenth of all rows, else.
    most = literal_column(str(limit + 1), Integer)
    query = select(jobs.c.id).where(*wanted.conditions(tenant)).order_by(jobs.c.id.desc()).limit(most)
    query = query if after is None else query.where(jobs.c.id < after)
    # The sizes of those alone: a database that sorts would measure every row that it looks at.
    ids = list(connection.scalars(query))
    sizes = select(jobs.c.id, _SIZE.label("size")).where(jobs.c.id.in_(ids[:limit])).order_by(jobs.c.id.desc())
    shown = _fitting(connection.execute(sizes).all()) if ids else []
    listed = read_jobs(connection, SHOWN.where(jobs.c.id.in_(shown)).order_by(jobs.c.id.desc()))
    return listed, len(ids) > len(listed)


def _fitting(rows: Sequence[Any]) -> list[str]:
    """The ids of the first of ``rows`` that one page has room for."""
    sizes = accumulate(row.size for row in rows)
    return [row.id for at, (row, size) in enumerate(zip(rows, sizes, strict=True)) if at == 0 or size <= PAGE_BYTES]


def _has(key: str, value: str) -> ColumnElement[bool]:
    pair = job_metadata.alias()
    return select(pair.c.job_id).where(pair.c.job_id == jobs.c.id, pair.c.key == key, pair.c.value == value).exists()
