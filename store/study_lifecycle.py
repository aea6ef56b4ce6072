"""What users do with a study that exists: cancel it, go on, add cells, delete it. The row is locked by the caller."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, delete, select, update

from api_schemas.errors import LayercutError
from api_schemas.jobs import Status
from api_schemas.studies.request import ResumeStudy
from api_schemas.studies.shown import CellState, StudyStatus
from store import lifecycle, uses
from store.columns import later
from store.study_feeding import gpu_hours
from store.study_rows import BEGUN, JOINED, OPEN_JOBS
from store.study_tables import studies, study_cells
from store.tables import jobs

#: Cells that were given up and may begin after all, by why they were.
_GIVEN_UP = (CellState.UNPAID, CellState.CANCELLED)

CANCELLED = "cancelled on request, with its study"


def cancel(connection: Connection, row: Row[Any]) -> bool:
    """Give up what waits, cancel its own jobs; whether anything changed. What others had done is left alone."""
    if row.status == StudyStatus.CANCELLED:
        return False
    waits = (study_cells.c.study_id == row.id, study_cells.c.state.in_((CellState.WAITING, CellState.UNPAID)))
    given_up = connection.execute(
        update(study_cells).where(*waits).values(state=CellState.CANCELLED, reason=CANCELLED)
    ).rowcount
    own = select(jobs).where(jobs.c.study_id == row.id, jobs.c.status.in_((Status.QUEUED, Status.RUNNING)))
    open_jobs = connection.execute(own.order_by(jobs.c.id).with_for_update()).all()
    for job in open_jobs:
        lifecycle.cancel(connection, job)
    if not given_up and not open_jobs and row.status == StudyStatus.FINISHED:
        raise LayercutError("study_ended", "the study has finished: there is nothing to cancel")
    values = {"status": StudyStatus.CANCELLED, "status_reason": "cancelled on request", "stopped_at": later()}
    connection.execute(update(studies).where(studies.c.id == row.id).values(**values))
    return True


def resume(connection: Connection, row: Row[Any], asked: ResumeStudy) -> None:
    """Go on with what was given up or cancelled, and where asked for with what failed or could not be. The budget
    counts from now on.

    Raises ``study_ended`` where there is nothing to go on with.
    """
    states = (*_GIVEN_UP, *([CellState.IMPOSSIBLE] if asked.retry_failed else []))
    given_up = (study_cells.c.study_id == row.id, study_cells.c.state.in_(states))
    again = connection.execute(
        update(study_cells).where(*given_up).values(state=CellState.WAITING, reason=None)
    ).rowcount
    statuses = [Status.CANCELLED, Status.CANCELLING, *([Status.FAILED] if asked.retry_failed else [])]
    again += _wait_again(connection, row.id, statuses)
    again += _made_anew(connection, row.id) if asked.without_files else 0
    if not again and row.status != StudyStatus.RUNNING and not _is_open(connection, row.id):
        raise LayercutError("study_ended", "every cell of the study has come to its end: add cells, or retry_failed")
    begin_anew(connection, row, asked)


def _wait_again(connection: Connection, study_id: str, statuses: list[Status]) -> int:
    """Cells whose jobs stand so, or are gone, wait for their turn again; they are given the same jobs, where they are
    there.
    """
    mine = (study_cells.c.study_id == study_id, study_cells.c.state == BEGUN)
    ended = jobs.c.status.in_(statuses) | jobs.c.id.is_(None)
    numbers = list(connection.scalars(select(study_cells.c.number).select_from(JOINED).where(*mine, ended)))
    for start in range(0, len(numbers), 500):
        some = study_cells.c.number.in_(numbers[start : start + 500])
        values = {"state": CellState.WAITING, "reason": None, "known": False}
        connection.execute(update(study_cells).where(*mine, some).values(**values))
    return len(numbers)


def _made_anew(connection: Connection, study_id: str) -> int:
    """Cells that have succeeded, and whose files are kept no longer, wait for jobs of their own; how many those are."""
    mine = (study_cells.c.study_id == study_id, study_cells.c.state == BEGUN)
    gone = (jobs.c.status == Status.SUCCEEDED, jobs.c.expired_at.is_not(None))
    numbers = list(connection.scalars(select(study_cells.c.number).select_from(JOINED).where(*mine, *gone)))
    for start in range(0, len(numbers), 500):
        some = study_cells.c.number.in_(numbers[start : start + 500])
        values = {"state": CellState.WAITING, "reason": None, "known": False, "job_id": None}
        connection.execute(update(study_cells).where(*mine, some).values(**values))
    return len(numbers)


def begin_anew(connection: Connection, row: Row[Any], asked: ResumeStudy | None = None) -> None:
    """The study runs; with ``asked``, its budget is that one, or its own anew. While it was finished, no minute ran."""
    values: dict[str, Any] = {"status": StudyStatus.RUNNING, "status_reason": None, "stopped_at": None}
    if row.status == StudyStatus.FINISHED:
        values["began_at"] = later()
    if asked is not None:
        values |= {"began_at": later(), "begun_before": studies.c.begun}
        values["gpu_hours_before"] = gpu_hours(connection, row.id)
        if asked.budget is not None:
            values["budget"] = asked.budget.model_dump(mode="json")
    connection.execute(update(studies).where(studies.c.id == row.id).values(**values))


def remove(connection: Connection, row: Row[Any], *, with_jobs: bool) -> None:
    """Delete the study; ``with_jobs``, its own jobs too, but for those that are known cells of other studies. Raises
    ``study_not_ended``, and ``job_in_use`` where another job works on one's files.
    """
    if (row.status == StudyStatus.RUNNING and _waits(connection, row.id)) or _is_open(connection, row.id):
        raise LayercutError("study_not_ended", "cells of the study are open: cancel it first (POST …/cancel)")
    others = select(study_cells.c.number).where(study_cells.c.job_id == jobs.c.id, study_cells.c.study_id != row.id)
    own = select(jobs).where(jobs.c.study_id == row.id, ~others.exists()).order_by(jobs.c.id).with_for_update()
    for job in connection.execute(own).all() if with_jobs else ():
        uses.check_unused(connection, job.id)
        lifecycle.remove(connection, job)
    connection.execute(update(jobs).where(jobs.c.study_id == row.id).values(study_id=None))
    connection.execute(delete(studies).where(studies.c.id == row.id))


def _waits(connection: Connection, study_id: str) -> bool:
    waits = (study_cells.c.study_id == study_id, study_cells.c.state == CellState.WAITING)
    return connection.scalar(select(study_cells.c.number).where(*waits).limit(1)) is not None


def _is_open(connection: Connection, study_id: str) -> bool:
    """Whether a job of a cell has not ended, or one of its own that no cell has now."""
    of_study = (study_cells.c.study_id == study_id, study_cells.c.state == BEGUN, jobs.c.status.in_(OPEN_JOBS))
    found = select(study_cells.c.number).select_from(JOINED).where(*of_study).limit(1)
    own = select(jobs.c.id).where(jobs.c.study_id == study_id, jobs.c.status.in_(OPEN_JOBS)).limit(1)
    return connection.scalar(found) is not None or connection.scalar(own) is not None
