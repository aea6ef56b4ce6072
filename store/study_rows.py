"""What studies are in the database: their rows, and those of their cells with the jobs behind them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, and_, case, func, insert, literal, select

from api_schemas.errors import LayercutError
from api_schemas.jobs import Status
from api_schemas.studies.request import Budget
from api_schemas.studies.shown import CellState, StudyStatus
from store.columns import later
from store.rows import ACTIVE, GPU
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
    content: str | None = None
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
    gpu_seconds: float = 0.0
    #: Of its job, and whether they are kept.
    has_files: bool = False


class Tally(NamedTuple):
    """Cells of a study that stand alike. ``fractions`` is of their jobs, added up; ``timed`` of them took ``seconds``.
    ``gpu_seconds`` are of all their attempts on a GPU, also of those that run or came to nothing.
    """

    state: CellState
    known: bool
    cells: int
    fractions: float
    timed: int
    seconds: float
    gpu_seconds: float


@dataclass(frozen=True)
class StudyRows:
    """A study as it is read: in one look, so that its parts belong together. ``now`` by the database's clock. Of a
    list, ``cells`` are left out.
    """

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
    tallies: list[Tally]


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
#: When the attempt began that runs on a GPU now. Of those alone: each costs the reading of all that is resolved.
RUNNING_SINCE = case(
    (jobs.c.status.in_(ACTIVE) & jobs.c.resolved["device"].as_string().like(f"{GPU}%"), jobs.c.started_at), else_=None
).label("running_since")


_JOB = (
    jobs.c.status, jobs.c.status_reason, jobs.c.progress, jobs.c.result, jobs.c.error, jobs.c.usage,
    jobs.c.artifact, jobs.c.expired_at, jobs.c.gpu_seconds, RUNNING_SINCE, later().label("now"),
)  # fmt: skip


def gpu_seconds(row: Any) -> float:
    """What a job's attempts took on a GPU, by ``gpu_seconds``, ``running_since`` and ``now``."""
    runs = 0.0 if row.running_since is None else (row.now - row.running_since).total_seconds()
    return float(row.gpu_seconds or 0.0) + max(0.0, runs)


def read_study(connection: Connection, study_id: str, tenant: str | None) -> StudyRows:
    """All of it, in two statements. Raises ``study_not_found``, also for another tenant's."""
    row = connection.execute(select(studies, later().label("now")).where(owned(study_id, tenant))).first()
    if row is None:
        raise not_found(study_id)
    cells = read_cells(connection, study_id)
    return as_study(row, cells, [_tally(cell) for cell in cells])


def read_head(connection: Connection, study_id: str) -> StudyRows:
    """Without its cells."""
    row = connection.execute(select(studies, later().label("now")).where(owned(study_id, None))).first()
    if row is None:
        raise not_found(study_id)
    return as_study(row, [], read_tallies(connection, [study_id])[study_id])


class Revision(NamedTuple):
    """Of a study of which nothing is open: as long as this is the same, so is all that ``read_study`` tells of it."""

    status: str
    stopped_at: datetime
    begun: int
    cells: int
    jobs: int
    known: int
    events: int


def read_revision(connection: Connection, study_id: str, tenant: str | None) -> Revision | None:
    """None while something is open. A job that moves has another event, one that is deleted is missed, and a cell that
    moves moves its study. Raises ``study_not_found``.
    """
    row = connection.execute(select(studies).where(owned(study_id, tenant))).first()
    if row is None:
        raise not_found(study_id)
    if row.status not in (StudyStatus.FINISHED, StudyStatus.CANCELLED) or row.stopped_at is None:
        return None
    is_open = jobs.c.status.in_(OPEN_JOBS) | (study_cells.c.state == CellState.WAITING)
    counts = (
        func.count(), func.count(jobs.c.id), func.sum(case((study_cells.c.known, 1), else_=0)),
        func.coalesce(func.sum(jobs.c.last_event), 0), func.sum(case((is_open, 1), else_=0)),
    )  # fmt: skip
    query = select(*counts).select_from(JOINED).where(study_cells.c.study_id == study_id)
    cells, of_jobs, known, events, open_ = connection.execute(query).one()
    if open_:
        return None
    return Revision(row.status, row.stopped_at, row.begun, cells, of_jobs, known or 0, events)


def as_study(row: Row[Any], cells: list[CellRow], tallies: list[Tally]) -> StudyRows:
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
        tallies=tallies,
    )


def _tally(cell: CellRow) -> Tally:
    seconds = float((cell.usage or {}).get("wall_seconds") or 0.0)
    fraction = float((cell.progress or {}).get("fraction") or 0.0)
    return Tally(cell.state, cell.known, 1, fraction, int(seconds > 0), seconds, cell.gpu_seconds)


def read_tallies(connection: Connection, study_ids: Collection[str]) -> dict[str, list[Tally]]:
    """By study, without reading all that is known of each cell: one question for a page."""
    seconds = jobs.c.usage["wall_seconds"].as_float()
    parts = (jobs.c.progress["fraction"].as_float(), seconds, jobs.c.gpu_seconds)
    sums = [func.coalesce(func.sum(part), 0.0) for part in parts]
    alike = (study_cells.c.study_id, study_cells.c.state, study_cells.c.known, jobs.c.status)
    query = select(*alike, func.count(), func.count(seconds), *sums).select_from(JOINED)
    running = _running_gpu_seconds(connection, study_ids)
    found: dict[str, list[Tally]] = {study_id: [] for study_id in study_ids}
    for row in connection.execute(query.where(study_cells.c.study_id.in_(study_ids)).group_by(*alike)):
        study_id, state, known, status, cells, timed, fractions, took, took_gpu = row
        stands = CellState(state) if state != BEGUN else _of_status(status)
        found[study_id].append(Tally(stands, bool(known), cells, fractions, timed, took, took_gpu))
    for study_id, more in running.items():
        found[study_id].append(Tally(CellState.RUNNING, False, 0, 0.0, 0, 0.0, more))
    return found


def _running_gpu_seconds(connection: Connection, study_ids: Collection[str]) -> dict[str, float]:
    """Of the attempts that run now."""
    own = (
        study_cells.c.study_id.in_(study_ids), study_cells.c.state == BEGUN, study_cells.c.known.is_(False),
        jobs.c.status.in_(ACTIVE),
    )  # fmt: skip
    columns = (study_cells.c.study_id, literal(0.0).label("gpu_seconds"), RUNNING_SINCE, later().label("now"))
    found: dict[str, float] = {}
    for row in connection.execute(select(*columns).select_from(JOINED).where(*own)):
        found[row.study_id] = found.get(row.study_id, 0.0) + gpu_seconds(row)
    return found


def _of_status(status: str | None) -> CellState:
    """Of a cell with a job; one whose job is gone has nothing to show."""
    return CellState.CANCELLED if status is None else _OF_JOBS[Status(status)]


def read_cells(connection: Connection, study_id: str) -> list[CellRow]:
    query = select(*_CELL, *_JOB).select_from(JOINED).where(study_cells.c.study_id == study_id)
    return [_as_cell(row) for row in connection.execute(query.order_by(study_cells.c.number))]


def _as_cell(row: Any) -> CellRow:
    number, at, strategy, state, reason, job_id, known, total, dropped, status, why, *of_job = tuple(row)[:15]
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
        progress, result, usage, gpu_seconds(row), row.artifact is not None and row.expired_at is None,
    )  # fmt: skip


#: Further lists that a study may have been given.
MOST_GRIDS = 100


def check_size(connection: Connection, row: Row[Any], keys: Collection[str], most: int | None) -> None:
    """Raise ``study_too_large`` where the study cannot be given cells of those keys too."""
    there = set(connection.scalars(select(study_cells.c.key).where(study_cells.c.study_id == row.id)))
    new = len(set(keys) - there)
    if new and len(row.grids) >= MOST_GRIDS:
        text = f"the study has {len(row.grids)} grids, which is the most: ask for another study"
        raise LayercutError("study_too_large", text, details={"cells": len(row.grids), "most": MOST_GRIDS})
    if most is not None and new and len(there) + new > most:
        text = f"the study has {len(there)} cells, these are {new} more, and a study may have {most}: ask for another"
        raise LayercutError("study_too_large", text, details={"cells": len(there) + new, "most": most})


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
        "content": cell.content,
        "layers_total": cell.layers_total,
        "dropped": cell.dropped,
    }
