"""How cells become jobs, a window at a time. Many gateways may do so at once.

Whoever changes a study holds its row (SQLite has one writer anyway), and a cell becomes a job in the transaction that
finds it waiting: a cell has one job at most. One that has had a job is given that again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, func, select, update

from api_schemas.errors import LayercutError
from api_schemas.jobs import Status
from api_schemas.studies.request import Budget
from api_schemas.studies.shown import CellState, StudyStatus
from store import lifecycle, rows
from store.audit import Actor
from store.columns import later
from store.creating import NewJob, create
from store.file_states import as_they_were
from store.study_rows import BEGUN, JOINED, OPEN_JOBS, RUNNING_SINCE, free, gpu_seconds, of_cell
from store.study_tables import studies, study_cells
from store.tables import jobs

#: What a job's retry may be refused with that passes by itself.
_LATER = frozenset({"job_not_terminal", "job_in_use", "quota_exceeded"})


class Waiting(NamedTuple):
    """A cell whose turn it is; ``job_id`` is the one that it had, ``content`` of model and data as it was asked for."""

    number: int
    at: tuple[int, ...]
    strategy: str
    job_id: str | None
    content: str | None = None
    place: int = 0


class Ready(NamedTuple):
    """A cell that may begin, and its job."""

    cell: Waiting
    job: NewJob


class Fed(NamedTuple):
    """How many jobs were queued, and whether more may be at once."""

    jobs: int
    more: bool


@dataclass(frozen=True)
class Standing:
    """Where a running study stands. ``free`` cells wait for their turn alone, ``held`` ones for a pilot. ``spent``
    says which part of the budget is used up, if one is.
    """

    id: str
    actor: Actor
    free: int
    held: int
    queued: int
    open: int
    spent: str | None


def running(connection: Connection) -> list[str]:
    """The ids of all studies for which something may be left to do."""
    return list(connection.scalars(select(studies.c.id).where(studies.c.status == StudyStatus.RUNNING)))


def standing(connection: Connection, study_id: str) -> Standing | None:
    """None where it runs no more."""
    found = select(studies, later().label("now")).where(studies.c.id == study_id)
    row = connection.execute(found.where(studies.c.status == StudyStatus.RUNNING)).first()
    return None if row is None else _standing(connection, row)


def _standing(connection: Connection, row: Row[Any]) -> Standing:
    held = study_cells.c.pilot.is_not(None)
    query = (
        select(study_cells.c.state, held.label("held"), study_cells.c.known, jobs.c.status, func.count().label("cells"))
        .select_from(JOINED)
        .where(study_cells.c.study_id == row.id)
        .group_by(study_cells.c.state, held, study_cells.c.known, jobs.c.status)
    )
    groups = connection.execute(query).all()

    def count(wanted: Callable[[Any], bool]) -> int:
        return sum(group.cells for group in groups if wanted(group))

    return Standing(
        id=row.id,
        actor=Actor(row.tenant, row.key_id, row.request_id, traceparent=row.traceparent),
        free=count(lambda group: group.state == CellState.WAITING and not group.held),
        held=count(lambda group: group.state == CellState.WAITING and group.held),
        queued=count(lambda group: group.state == BEGUN and not group.known and group.status == Status.QUEUED),
        open=count(lambda group: group.state == CellState.WAITING or group.status in OPEN_JOBS),
        spent=_spent(connection, row),
    )


def _spent(connection: Connection, row: Row[Any]) -> str | None:
    budget = Budget.model_validate(row.budget)
    if budget.jobs is not None and row.begun - row.begun_before >= budget.jobs:
        return f"the budget of {budget.jobs} jobs is used up"
    if budget.minutes is not None and (row.now - row.began_at).total_seconds() / 60 >= budget.minutes:
        return f"the budget of {budget.minutes:g} minutes is used up"
    if budget.gpu_hours is not None:
        used = gpu_hours(connection, row.id) - row.gpu_hours_before
        if used >= budget.gpu_hours:
            return f"the budget of {budget.gpu_hours:g} GPU-hours is used up: its jobs took {used:.3g}"
    return None


def gpu_hours(connection: Connection, study_id: str) -> float:
    """What the attempts of the study's jobs took on GPUs, all together, whatever came of them."""
    mine = select(jobs.c.gpu_seconds, RUNNING_SINCE, later().label("now")).where(jobs.c.study_id == study_id)
    return sum(map(gpu_seconds, connection.execute(mine))) / 3600


def next_cells(connection: Connection, study_id: str, limit: int, after: int = -1) -> list[Waiting]:
    """The first of those that wait for nothing but their turn, which is later than the place ``after``."""
    columns = (
        study_cells.c.number, study_cells.c.at, study_cells.c.strategy, study_cells.c.job_id, study_cells.c.content,
        study_cells.c.place,
    )  # fmt: skip
    waiting = (
        study_cells.c.study_id == study_id, study_cells.c.state == CellState.WAITING, study_cells.c.pilot.is_(None),
        study_cells.c.place > after,
    )  # fmt: skip
    query = select(*columns).where(*waiting).order_by(study_cells.c.place).limit(limit)
    return [Waiting(row.number, tuple(row.at), *row[2:]) for row in connection.execute(query)]


def begin(connection: Connection, study_id: str, ready: Sequence[Ready], window: int) -> Fed:
    """Queue the jobs of cells that still wait, in order, while window, budget and quotas have room. A cell whose like
    an earlier job has done, or another cell of the study does, is given that job, whether there is room or not.
    """
    row = free(connection, study_id)
    if row is None:
        return Fed(0, more=False)
    now = standing(connection, study_id)
    if now is None or now.spent is not None:
        return Fed(0, more=False)
    room, begun, more = _room(row, now, window), 0, True
    still = _still_waiting(connection, study_id, ready)
    _lock_jobs(connection, [one.cell.job_id for one in still if one.cell.job_id])
    for one in still:
        queued = _begin_or_refuse(connection, study_id, now.actor, one, may_queue=begun < room)
        more = more and queued is not None
        begun += queued or 0
    if begun:
        connection.execute(update(studies).where(studies.c.id == study_id).values(begun=studies.c.begun + begun))
    return Fed(begun, more)


def _still_waiting(connection: Connection, study_id: str, ready: Sequence[Ready]) -> list[Ready]:
    """With the jobs that they have now: since they were looked at, they may have begun, and been resumed."""
    numbers = [one.cell.number for one in ready]
    waiting = (study_cells.c.study_id == study_id, study_cells.c.state == CellState.WAITING)
    query = select(study_cells.c.number, study_cells.c.job_id).where(*waiting, study_cells.c.number.in_(numbers))
    have = {row.number: row.job_id for row in connection.execute(query)}
    return [
        one._replace(cell=one.cell._replace(job_id=have[one.cell.number])) for one in ready if one.cell.number in have
    ]


def _lock_jobs(connection: Connection, job_ids: Collection[str]) -> None:
    """Jobs before the tenant, as whoever asks for one again: the other way round, each would wait for the other."""
    if job_ids:
        connection.execute(select(jobs.c.id).where(jobs.c.id.in_(job_ids)).order_by(jobs.c.id).with_for_update())


def _room(row: Row[Any], now: Standing, window: int) -> int:
    """How many more jobs may be queued."""
    budget, room = Budget.model_validate(row.budget), window - now.queued
    return room if budget.jobs is None else min(room, budget.jobs - (row.begun - row.begun_before))


def _begin_or_refuse(connection: Connection, study_id: str, actor: Actor, one: Ready, *, may_queue: bool) -> int | None:
    """How many jobs were queued; None where there is no room now, or the job that the cell had is not free yet."""
    try:
        return _begin_one(connection, study_id, actor, one, may_queue=may_queue)
    except _NoRoom:
        return None
    except LayercutError as error:
        if error.code in _LATER:
            return None
        if error.kind.retryable:
            raise
        impossible(connection, study_id, {one.cell.number: error.message})
        return 0


class _NoRoom(Exception):
    """What the cell has begun with is to be taken back."""


def _begin_one(connection: Connection, study_id: str, actor: Actor, one: Ready, *, may_queue: bool) -> int:
    """How many jobs that queued: none where the cell waits no more, its like is known, or shares a job with another."""
    with connection.begin_nested():
        mine = update(study_cells).where(
            of_cell(study_id, one.cell.number), study_cells.c.state == CellState.WAITING, study_cells.c.pilot.is_(None)
        )
        taken = mine.values(state=BEGUN, reason=None, fingerprint=one.job.fingerprint)
        if connection.execute(taken).rowcount != 1:
            return 0
        job_id, begins = _again(connection, actor.tenant, one)
        shared = job_id is not None and not begins and _is_of_another(connection, study_id, one.cell.number, job_id)
        if job_id is None:
            job_id = alike(connection, actor.tenant, study_id, one.job.fingerprint)
            shared = job_id is not None
        if job_id is None and may_queue:
            job_id, begins = create(connection, actor.tenant, one.job, actor), True
        if job_id is None or (begins and not may_queue):
            raise _NoRoom
        values = {"job_id": job_id, "known": shared}
        connection.execute(update(study_cells).where(of_cell(study_id, one.cell.number)).values(**values))
        return int(begins)


def _again(connection: Connection, tenant: str, one: Ready) -> tuple[str | None, bool]:
    """The job that the cell had, and whether that was queued again; None where it had none, or that is gone."""
    if one.cell.job_id is None:
        return None, False
    try:
        row = rows.locked(connection, one.cell.job_id, tenant)
    except LayercutError:
        return None, False
    if row.status == Status.SUCCEEDED or not lifecycle.retry(connection, row):
        return row.id, False
    values = {"fingerprint": one.job.fingerprint, "inputs": [list(state) for state in one.job.inputs]}
    connection.execute(update(jobs).where(jobs.c.id == row.id).values(**values))
    return row.id, True


def _is_of_another(connection: Connection, study_id: str, number: int, job_id: str) -> bool:
    """Whether another cell of the study has the job by now."""
    others = (study_cells.c.study_id == study_id, study_cells.c.number != number, study_cells.c.state == BEGUN)
    found = select(study_cells.c.number).where(*others, study_cells.c.job_id == job_id)
    return connection.scalar(found.limit(1)) is not None


def alike(connection: Connection, tenant: str, study_id: str, fingerprint: str | None) -> str | None:
    """A job that has done what the fingerprint is of, or does it now for the same study."""
    if fingerprint is None:
        return None
    done = known_jobs(connection, tenant, [fingerprint]).get(fingerprint)
    if done is not None:
        return done
    of_study = (jobs.c.study_id == study_id, jobs.c.fingerprint == fingerprint, jobs.c.tenant == tenant)
    found = select(jobs.c.id).where(*of_study, jobs.c.status.in_([Status.QUEUED, Status.RUNNING]))
    return connection.scalar(found.order_by(jobs.c.id).limit(1))


def known_jobs(connection: Connection, tenant: str, fingerprints: Collection[str]) -> dict[str, str]:
    """By fingerprint: the tenant's latest job that has done it, and whose files are kept. What it has read is what the
    fingerprint says where that has not changed since.
    """
    done = (
        jobs.c.tenant == tenant, jobs.c.status == Status.SUCCEEDED, jobs.c.artifact.is_not(None),
        jobs.c.expired_at.is_(None),
    )  # fmt: skip
    asked, found = sorted(set(fingerprints)), {}
    for start in range(0, len(asked), 500):
        some = jobs.c.fingerprint.in_(asked[start : start + 500])
        query = select(jobs.c.fingerprint, jobs.c.id, jobs.c.inputs).where(*done, some).order_by(jobs.c.id)
        rows = connection.execute(query)
        found.update({row.fingerprint: row.id for row in rows if as_they_were(row.inputs)})
    return found


def link_known(connection: Connection, study_id: str) -> int:
    """Give cells that wait the jobs that have done the same since they were looked at; how many that were."""
    row = free(connection, study_id)
    if row is None:
        return 0
    waits = (
        study_cells.c.study_id == study_id, study_cells.c.state == CellState.WAITING, study_cells.c.job_id.is_(None),
        study_cells.c.fingerprint.is_not(None),
    )  # fmt: skip
    cells = connection.execute(select(study_cells.c.number, study_cells.c.fingerprint).where(*waits)).all()
    known = known_jobs(connection, row.tenant, [cell.fingerprint for cell in cells])
    found = {cell.number: known[cell.fingerprint] for cell in cells if cell.fingerprint in known}
    for number, job_id in found.items():
        values = {"state": BEGUN, "job_id": job_id, "known": True, "pilot": None, "reason": None}
        connection.execute(update(study_cells).where(of_cell(study_id, number)).values(**values))
    return len(found)


def impossible(connection: Connection, study_id: str, reasons: Mapping[int, str]) -> None:
    """Cells that wait, and whose jobs cannot be."""
    for number, reason in reasons.items():
        mine = update(study_cells).where(of_cell(study_id, number), study_cells.c.state == CellState.WAITING)
        connection.execute(mine.values(state=CellState.IMPOSSIBLE, reason=reason))


class Held(NamedTuple):
    """A cell that waits for its pilot, with the layers that it drops, as far as its plan tells."""

    number: int
    strategy: str
    dropped: list[int] | None


class Pilot(NamedTuple):
    """A pilot that has ended: where its files are, if it succeeded, and the cells that wait for it."""

    number: int
    job_id: str | None
    artifact: str | None
    held: list[Held]


def ended_pilots(connection: Connection, study_id: str) -> list[Pilot]:
    """Those that cells wait for, and that have succeeded or will not."""
    columns = (study_cells.c.number, study_cells.c.strategy, study_cells.c.dropped, study_cells.c.pilot)
    waits = (study_cells.c.study_id == study_id, study_cells.c.state == CellState.WAITING)
    by_pilot: dict[int, list[Held]] = {}
    for row in connection.execute(select(*columns).where(*waits, study_cells.c.pilot.is_not(None))):
        by_pilot.setdefault(row.pilot, []).append(Held(row.number, row.strategy, row.dropped))
    if not by_pilot:
        return []
    seen = (study_cells.c.number, study_cells.c.state, study_cells.c.job_id, jobs.c.status, jobs.c.artifact)
    query = select(*seen).select_from(JOINED).where(study_cells.c.study_id == study_id)
    pilots = [row for row in connection.execute(query) if row.number in by_pilot]
    open_now = {row.number for row in pilots if row.state == CellState.WAITING or row.status in OPEN_JOBS}
    return [
        Pilot(row.number, row.job_id, row.artifact if row.status == Status.SUCCEEDED else None, by_pilot[row.number])
        for row in pilots
        if row.number not in open_now
    ]


def judge(connection: Connection, study_id: str, pilot: Pilot, out: Mapping[int, str]) -> None:
    """The cells of the pilot run, but for those that are ``out``, with the reason of each."""
    if free(connection, study_id) is None:
        return
    for cell in pilot.held:
        mine = update(study_cells).where(
            of_cell(study_id, cell.number),
            study_cells.c.state == CellState.WAITING,
            study_cells.c.pilot == pilot.number,
        )
        stopped = {"state": CellState.STOPPED, "reason": out[cell.number]} if cell.number in out else {}
        connection.execute(mine.values(pilot=None, **stopped))


def finish(connection: Connection, study_id: str) -> bool:
    """Say that every cell has come to its end, where that is so."""
    row = free(connection, study_id)
    now = None if row is None else standing(connection, study_id)
    if now is None or now.open:
        return False
    done = update(studies).where(studies.c.id == study_id)
    connection.execute(done.values(status=StudyStatus.FINISHED, status_reason=None, stopped_at=later()))
    return True


def pause(connection: Connection, study_id: str, reason: str) -> bool:
    """The budget is used up: nothing more is queued, and what is queued is taken back, unless it is the number of jobs
    that is used up: those have been paid.
    """
    row = free(connection, study_id)
    now = None if row is None else standing(connection, study_id)
    if row is None or now is None or now.spent is None:
        return False
    by_count = now.spent.endswith("jobs is used up")
    if not (now.free or now.held or (now.queued and not by_count)):  # what runs ends as usual, and the study with it
        return False
    back = 0 if by_count else _take_back(connection, study_id)
    waits = (study_cells.c.study_id == study_id, study_cells.c.state == CellState.WAITING)
    connection.execute(update(study_cells).where(*waits).values(state=CellState.UNPAID, reason=reason))
    values = {"status": StudyStatus.PAUSED, "status_reason": reason, "stopped_at": later()}
    connection.execute(update(studies).where(studies.c.id == study_id).values(**values, begun=studies.c.begun - back))
    return True


def _take_back(connection: Connection, study_id: str) -> int:
    """Cancel the study's jobs that are queued; their cells wait again. How many that were."""
    queued = select(jobs).where(jobs.c.study_id == study_id, jobs.c.status == Status.QUEUED)
    taken = connection.execute(queued.order_by(jobs.c.id).with_for_update(skip_locked=True)).all()
    for row in taken:
        lifecycle.cancel(connection, row)
        theirs = (study_cells.c.study_id == study_id, study_cells.c.state == BEGUN, study_cells.c.job_id == row.id)
        connection.execute(update(study_cells).where(*theirs).values(state=CellState.WAITING, known=False))
    return len(taken)
