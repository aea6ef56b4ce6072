"""The ground that every change of a job stands on: its row, its transitions, its numbered events."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Any

from pydantic import ValidationError
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Text,
    Update,
    and_,
    bindparam,
    case,
    cast,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)

from api_schemas.errors import LayercutError
from api_schemas.events import EVENT, Event, EventType, NewEvent
from api_schemas.jobs import TRANSITIONS, Job, Progress, Status
from api_schemas.resolved import ResolvedRequest
from store.columns import later
from store.outbox import announce, has_listeners, listeners
from store.tables import events, jobs

#: Texts of ``resolved`` that are not read again, and the longest of them, in characters.
REMEMBERED, REMEMBERED_CHARACTERS = 1024, 16 * 1024

#: Of one page of events, by their messages and data.
PAGE_BYTES = 2 * 2**20

ACTIVE = [status for status in Status if status.active]

#: How the ``device`` of a resolved request begins that is a GPU.
GPU = "cuda"

# Who of a tenant's is claimed first: priority, then who waits for longest.
QUEUE_ORDER = (jobs.c.priority.desc(), jobs.c.queued_at, jobs.c.id)


def claimable() -> ColumnElement[bool]:
    """Queued, and not to wait after a lost attempt any more."""
    return and_(jobs.c.status == Status.QUEUED, or_(jobs.c.claimable_at.is_(None), jobs.c.claimable_at <= later()))


_NO_LEASE: dict[str, Any] = {"lease_token": None, "lease_expires_at": None}
_ENDED: dict[str, Any] = {
    **_NO_LEASE,
    "finished_at": later(),
    # A job that never ran left no files.
    "sweep_at": case((jobs.c.attempt > 0, later()), else_=None),
}

# What entering a status does to the row, besides what the caller has to say.
_ENTERING: dict[Status, dict[str, Any]] = {
    Status.QUEUED: {
        **_NO_LEASE,
        "stage": None,
        "progress": {},
        "worker": None,
        "woken_at": None,
        "queue_expires_at": later(jobs.c.max_queue_seconds),
    },
    Status.RUNNING: {"started_at": later(), "attempt": jobs.c.attempt + 1, "progress": {}, "status_reason": None},
    Status.CANCELLING: {},
    Status.SUCCEEDED: _ENDED,
    Status.FAILED: _ENDED,
    Status.CANCELLED: _ENDED,
}


class IllegalTransition(ValueError):
    """``TRANSITIONS`` does not have it. A mistake in our code, never a user's."""

    def __init__(self, source: Status, target: Status) -> None:
        super().__init__(f"a job that is {source} cannot become {target}")


def on_gpu(resolved: dict[str, Any] | None) -> bool:
    """Whether the latest attempt has told that it computes on one."""
    return str((resolved or {}).get("device") or "").startswith(GPU)


def moving(source: Status, target: Status) -> Update:
    """The start of every statement that changes a status; there is no other. The caller says which job.

    Raises ``IllegalTransition`` unless ``TRANSITIONS`` has it.
    """
    if target not in TRANSITIONS[source]:
        raise IllegalTransition(source, target)
    return update(jobs).where(jobs.c.status == source).values(status=target, **_ENTERING[target])


def move(connection: Connection, row: Row[Any], target: Status, event: NewEvent, **values: Any) -> None:
    """Take a locked row to ``target`` and say so in its events."""
    if row.status in ACTIVE and target not in ACTIVE and on_gpu(row.resolved):
        took = (connection.execute(select(later())).scalar_one() - row.started_at).total_seconds()
        values["gpu_seconds"] = jobs.c.gpu_seconds + max(0.0, took)
    connection.execute(moving(Status(row.status), target).where(jobs.c.id == row.id).values(**values))
    append(connection, row.id, event)


# Made once: this is done for every event, and to put it together takes longer than to carry it out.
_JOB = bindparam("of_job", type_=jobs.c.id.type)
_NEXT_NUMBER = (
    update(jobs)
    .where(jobs.c.id == _JOB)
    .values(last_event=jobs.c.last_event + 1)
    .returning(jobs.c.last_event, jobs.c.attempt, has_listeners(_JOB).label("is_heard"))
)


def append(connection: Connection, job_id: str, event: NewEvent) -> Event:
    """Give ``event`` the job's next number. The counter is on the row, so a number that is not kept is not used up."""
    counter = connection.execute(_NEXT_NUMBER, {_JOB.key: job_id}).one()
    fact = {
        "type": event.type, "level": event.level, "message": event.message,
        "data": event.data.model_dump(mode="json", exclude_unset=True),
    }  # fmt: skip
    line = {"job_id": job_id, "number": counter.last_event, "attempt": counter.attempt, **fact}
    row = connection.execute(insert(events).values(**line, created_at=later()).returning(*events.c)).one()
    if counter.is_heard and (heard_by := listeners(connection, job_id, event.type)):
        announce(connection, heard_by, read_job(connection, job_id), row)
    return as_event(row)


def owned(job_id: str, tenant: str | None) -> ColumnElement[bool]:
    """The job of that id, where it is the tenant's; None is any."""
    return jobs.c.id == job_id if tenant is None else and_(jobs.c.id == job_id, jobs.c.tenant == tenant)


def locked(connection: Connection, job_id: str, tenant: str | None = None) -> Row[Any]:
    """The job's row, ours until the transaction ends; raises ``job_not_found``."""
    row = connection.execute(select(jobs).where(owned(job_id, tenant)).with_for_update()).first()
    if row is None:
        raise not_found(job_id)
    return row


def not_found(job_id: str) -> LayercutError:
    return LayercutError("job_not_found", f"there is no job {job_id[:80]!r}")


def read_jobs(connection: Connection, query: Select[Any]) -> list[Job]:
    """The jobs of ``query``, which narrows ``SHOWN``; each with its place in its tenant's queue (1 is next) while it is
    queued.
    """
    rows = connection.execute(query).all()
    queued = [row for row in rows if row.status == Status.QUEUED]
    places = _places(connection, queued) if queued else {}
    return [_as_job(row, places.get(row.id)) for row in rows]


def read_job(connection: Connection, job_id: str, tenant: str | None = None) -> Job:
    """One job; raises ``job_not_found``, also for another tenant's."""
    found = read_few_jobs(connection, [job_id]).get(job_id)
    if found is None or tenant not in (None, found[0]):
        raise not_found(job_id)
    return found[1]


def read_few_jobs(connection: Connection, job_ids: Collection[str]) -> dict[str, tuple[str, Job]]:
    """Those of the jobs that exist, each with its tenant, in one statement. Of many that are queued it is slower than
    ``read_jobs``: each one's place is counted by itself.
    """
    rows = connection.execute(_FEW, {"job_ids": list(job_ids)}).all()
    return {row.id: (row.tenant, _as_job(row, row.place)) for row in rows}


def _ahead() -> ColumnElement[int]:
    """How many of the tenant's wait in front of a job. Each part is one range of the queue's index."""
    other = jobs.alias("ahead")
    same = (other.c.status == Status.QUEUED, other.c.tenant == jobs.c.tenant)
    earlier = tuple_(other.c.queued_at, other.c.id) < tuple_(jobs.c.queued_at, jobs.c.id)
    parts = (other.c.priority > jobs.c.priority,), (other.c.priority == jobs.c.priority, earlier)
    counts = [select(func.count()).select_from(other).where(*same, *part) for part in parts]
    return sum((count.correlate(jobs).scalar_subquery() for count in counts), literal(0))


#: What is shown of a job. ``resolved`` as text: what was read of it before need not be read again.
SHOWN = select(
    *(column for column in jobs.c if column.name not in ("pinned", "resolved", "fingerprint")),
    cast(jobs.c.resolved, Text).label("resolved"),
)

# Made once: SQLAlchemy takes longer to put such a statement together than the database to answer it.
_FEW = SHOWN.add_columns(
    case((jobs.c.status == Status.QUEUED, _ahead() + 1)).label("place"),
).where(jobs.c.id.in_(bindparam("job_ids", expanding=True)))


def _places(connection: Connection, queued: list[Row[Any]]) -> dict[str, int]:
    # Among the tenant's own jobs: how many others wait is theirs to know.
    places: dict[str, int] = {}
    for tenant in {row.tenant for row in queued}:
        place = func.row_number().over(order_by=QUEUE_ORDER).label("place")
        queue = select(jobs.c.id, place).where(jobs.c.status == Status.QUEUED, jobs.c.tenant == tenant).subquery()
        asked = select(queue).where(queue.c.id.in_([row.id for row in queued if row.tenant == tenant]))
        places.update((row.id, row.place) for row in connection.execute(asked))
    return places


def _as_job(row: Row[Any], place: int | None) -> Job:
    return Job(
        id=row.id,
        status=row.status,
        stage=row.stage,
        status_reason=row.status_reason,
        attempt=row.attempt,
        created_at=row.created_at,
        queued_at=row.queued_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        expires_at=row.expires_at,
        model=row.model,
        task=row.task,
        priority=row.priority,
        request=row.request,
        resolved=_resolved(row.resolved),
        progress=Progress(**row.progress).model_copy(update={"queue_position": place}),
        result=row.result,
        error=row.error,
        usage=row.usage,
        worker=row.worker,
        metadata=row.request.get("metadata") or {},
        study=row.study_id,
        request_id=row.request_id,
        trace_id=row.traceparent.split("-")[1] if row.traceparent else None,
    )


def read_events(
    connection: Connection, job_id: str, after: int, limit: int, types: Collection[EventType] = ()
) -> tuple[list[Event], bool]:
    """At most ``limit`` events past the number ``after``, no more than have ``PAGE_BYTES`` (but one, however large it
    is), and whether there are more; of ``types`` alone, where some are given.
    """
    numbered = [events.c.job_id == job_id, events.c.number > after]
    if types:
        numbered.append(events.c.type.in_(types))
    page = select(events).where(*numbered).order_by(events.c.number).limit(limit + 1).subquery()
    # The database adds up what it has: rows that are too many are not sent.
    size = func.length(page.c.message) + func.length(cast(page.c.data, Text))
    sized = select(page, func.sum(size).over(order_by=page.c.number).label("sum"), func.count().over().label("found"))
    whole = sized.subquery()
    fits = or_(whole.c.sum <= PAGE_BYTES, whole.c.number == after + 1)
    rows = connection.execute(select(whole).where(fits).order_by(whole.c.number).limit(limit)).all()
    return [as_event(row) for row in rows], bool(rows) and rows[0].found > len(rows)


def _resolved(text: str | None) -> ResolvedRequest | None:
    # `null`: what JSON has for it is in rows of an older layercut.
    if text is None or text == "null":
        return None
    return _read_resolved(text) if len(text) <= REMEMBERED_CHARACTERS else _read_resolved.__wrapped__(text)


@lru_cache(maxsize=REMEMBERED)
def _read_resolved(text: str) -> ResolvedRequest | None:
    """What another version resolved may lie outside the bounds of this one: one such job must not spoil a list.

    Whoever polls a job asks for the same text again and again, and reading it is most of a job's reading. Nobody
    changes what comes out.
    """
    try:
        return ResolvedRequest.model_validate_json(text)
    except (ValidationError, LayercutError):
        return None


def as_event(row: Row[Any]) -> Event:
    names = ("number", "job_id", "attempt", "created_at", "type", "level", "message", "data")
    fact = {name: getattr(row, name) for name in names}
    try:
        return EVENT.validate_python(fact)
    except (ValidationError, LayercutError):  # by another version, within its own bounds: it must not spoil the page
        return EVENT.validate_python({**fact, "type": EventType.LOG, "data": {}})
