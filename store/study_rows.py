"""What studies are in the database: their rows, and those of their cells with the jobs behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, case, func, insert, select

from api_schemas.errors import LayercutError
from api_schemas.jobs import Status
from api_schemas.studies.request import Budget
from api_schemas.studies.shown import CellState, StudyStatus
from store.audit import Actor
from store.columns import later
from store.study_tables import studies, study_cells
from store.tables import jobs

#: The state, in the database, of a cell that stands where its job stands.
BEGUN = "begun"

#: Rows of one statement: SQLite takes so many values, and no more.
AT_ONCE = 500

#: Cells without a job have their state on their row, those with one on its.
_OF_JOBS = {
    Status.QUEUED: CellState.QUEUED,
    Status.RUNNING: CellState.RUNNING,
    Status.CANCELLING: CellState.RUNNING,
    Status.SUCCEEDED: CellState.SUCCEEDED,
    Status.FAILED: CellState.FAILED,
    Status.CANCELLED: CellState.CANCELLED,
}

JOB_DELETED = "its job was deleted, and what it found with it"

#: Whether a cell waits or its job has not ended.
OPEN_JOBS = [Status.QUEUED, Status.RUNNING, Status.CANCELLING]


@dataclass(frozen=True)
class NewCell:
    """``at`` is the number of its grid, then its place in each of the grid's lists. ``pilot``: the key of the cell
    whose search decides whether it runs. With a ``job_id``, that job had done it.
    """

    key: str
    at: tuple[int, ...]
    strategy: str
    state: CellState = CellState.WAITING
    reason: str | None = None
    job_id: str | None = None
    pilot: str | None = None
    fingerprint: str | None = None
    layers_total: int | None = None
    dropped: list[int] | None = None


@dataclass(frozen=True)
class NewStudy:
    """``cells`` in the order of the table; ``order``: their numbers in the order in which they run."""

    name: str | None
    request: dict[str, Any]
    grid: dict[str, Any]
    budget: Budget
    cells: Sequence[NewCell]
    order: Sequence[int]


@dataclass(frozen=True)
class CellRow:
    """A cell with what is known of its job. ``own``: the job is this study's, and no other's had done it."""

    number: int
    at: tuple[int, ...]
    strategy: str
    state: CellState
    reason: str | None
    job_id: str | None
    known: bool
    layers_total: int | None
    dropped: list[int] | None
    progress: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None
    device: str | None = None


@dataclass(frozen=True)
class StudyRows:
    """A study as it is read: in one look, so that its parts belong together. ``now`` by the database's clock."""

    id: str
    tenant: str
    name: str | None
    status: StudyStatus
    status_reason: str | None
    created_at: datetime
    stopped_at: datetime | None
    began_at: datetime
    now: datetime
    request: dict[str, Any]
    grids: list[dict[str, Any]]
    budget: Budget
    begun: int
    cells: list[CellRow]

    @property
    def actor(self) -> Actor:
        return Actor(self.tenant)


def owned(study_id: str, tenant: str | None) -> ColumnElement[bool]:
    """The study of that id, where it is the tenant's; None is any."""
    mine = studies.c.id == study_id
    return mine if tenant is None else and_(mine, studies.c.tenant == tenant)


def not_found(study_id: str) -> LayercutError:
    return LayercutError("study_not_found", f"there is no study {study_id[:80]!r}")


def locked(connection: Connection, study_id: str, tenant: str | None = None) -> Row[Any]:
    """The study's row, ours until the transaction ends; raises ``study_not_found``."""
    row = connection.execute(select(studies).where(owned(study_id, tenant)).with_for_update()).first()
    if row is None:
        raise not_found(study_id)
    return row


def free(connection: Connection, study_id: str) -> Row[Any] | None:
    """As ``locked``; None where it runs no more, or another gateway has it now."""
    running = select(studies).where(studies.c.id == study_id, studies.c.status == StudyStatus.RUNNING)
    return connection.execute(running.with_for_update(skip_locked=True)).first()


def of_cell(study_id: str, number: int) -> ColumnElement[bool]:
    return and_(study_cells.c.study_id == study_id, study_cells.c.number == number)


#: Cells with their jobs, as far as those are there. By the id alone: with more, SQLite goes by another index, slowly.
JOINED = study_cells.outerjoin(jobs, jobs.c.id == study_cells.c.job_id)

_CELL = (
    study_cells.c.number,
    study_cells.c.at,
    study_cells.c.strategy,
    study_cells.c.state,
    study_cells.c.reason,
    study_cells.c.job_id,
    study_cells.c.known,
    study_cells.c.layers_total,
    study_cells.c.dropped,
)
_JOB = (jobs.c.status, jobs.c.status_reason, jobs.c.progress, jobs.c.result, jobs.c.error, jobs.c.usage)
# Of a job that has ended: that of the others is asked for in vain, and each costs the reading of all that is resolved.
_DEVICE = case((jobs.c.usage.is_not(None), jobs.c.resolved["device"].as_string()), else_=None).label("device")


def read_study(connection: Connection, study_id: str, tenant: str | None) -> StudyRows:
    """All of it, in two statements. Raises ``study_not_found``, also for another tenant's."""
    row = connection.execute(select(studies, later().label("now")).where(owned(study_id, tenant))).first()
    if row is None:
        raise not_found(study_id)
    return as_study(row, read_cells(connection, study_id))


def as_study(row: Row[Any], cells: list[CellRow]) -> StudyRows:
    return StudyRows(
        id=row.id,
        tenant=row.tenant,
        name=row.name,
        status=StudyStatus(row.status),
        status_reason=row.status_reason,
        created_at=row.created_at,
        stopped_at=row.stopped_at,
        began_at=row.began_at,
        now=row.now,
        request=row.request,
        grids=row.grids,
        budget=Budget.model_validate(row.budget),
        begun=row.begun,
        cells=cells,
    )


def read_cells(connection: Connection, study_id: str) -> list[CellRow]:
    query = select(*_CELL, *_JOB, _DEVICE).select_from(JOINED).where(study_cells.c.study_id == study_id)
    return [_as_cell(row) for row in connection.execute(query.order_by(study_cells.c.number))]


def _as_cell(row: Sequence[Any]) -> CellRow:
    number, at, strategy, state, reason, job_id, known, total, dropped, status, why, *of_job, device = row
    if state != BEGUN:
        return CellRow(number, tuple(at), strategy, CellState(state), reason, None, False, total, dropped)
    if status is None:
        return CellRow(number, tuple(at), strategy, CellState.CANCELLED, JOB_DELETED, None, known, total, dropped)
    progress, result, error, usage = of_job
    if error is not None:
        reason = str(error.get("message"))
    elif status == Status.CANCELLED:
        reason = why
    return CellRow(
        number, tuple(at), strategy, _OF_JOBS[Status(status)], reason, job_id, bool(known), total, dropped,
        progress, result, usage, device,
    )  # fmt: skip


def add_cells(connection: Connection, study_id: str, cells: Sequence[NewCell], order: Sequence[int]) -> int:
    """Write down cells that the study does not have yet, numbered from its last on; how many that were."""
    of_study = study_cells.c.study_id == study_id
    there = {
        row.key: row.number
        for row in connection.execute(select(study_cells.c.key, study_cells.c.number).where(of_study))
    }
    first = max(there.values(), default=-1) + 1
    place = (connection.scalar(select(func.max(study_cells.c.place)).where(of_study)) or 0) + 1
    turns = {number: turn for turn, number in enumerate(order)}
    new = [(turns[at], cell) for at, cell in enumerate(cells) if cell.key not in there]
    numbers = there | {cell.key: first + at for at, (_, cell) in enumerate(new)}
    rows = [_new_row(study_id, cell, numbers, place + turn) for turn, cell in new]
    for start in range(0, len(rows), AT_ONCE):
        connection.execute(insert(study_cells), rows[start : start + AT_ONCE])
    return len(rows)


def _new_row(study_id: str, cell: NewCell, numbers: dict[str, int], place: int) -> dict[str, Any]:
    return {
        "study_id": study_id,
        "number": numbers[cell.key],
        "key": cell.key,
        "at": list(cell.at),
        "strategy": cell.strategy,
        "place": place,
        "state": BEGUN if cell.job_id else cell.state,
        "reason": cell.reason,
        "job_id": cell.job_id,
        "known": cell.job_id is not None,
        "pilot": None if cell.pilot is None else numbers.get(cell.pilot),
        "fingerprint": cell.fingerprint,
        "layers_total": cell.layers_total,
        "dropped": cell.dropped,
    }
