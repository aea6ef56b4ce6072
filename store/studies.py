"""StudyStore: the door to everything that is known about studies. One method is one transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection, Engine, insert, select, update

from api_schemas.errors import LayercutError
from api_schemas.studies.request import ResumeStudy
from api_schemas.studies.shown import CellState, StudyStatus
from store import study_feeding as feeding
from store import study_lifecycle as lifecycle
from store.audit import Actor, note
from store.columns import later
from store.database import reading
from store.ids import is_study_id, new_id
from store.study_feeding import Fed, Pilot, Ready, Standing, Waiting
from store.study_rows import (
    NewCell,
    NewStudy,
    Revision,
    StudyRows,
    add_cells,
    as_study,
    check_size,
    locked,
    owned,
    read_head,
    read_revision,
    read_study,
    read_tallies,
)
from store.study_tables import studies, study_cells
from store.tables import DEFAULT_TENANT
from store.tenants import has_room

Within = Callable[[Connection, StudyRows], None]

#: What cells that are added to a study begin as, by where it stands.
_ADDED_AS = {StudyStatus.PAUSED: CellState.UNPAID, StudyStatus.CANCELLED: CellState.CANCELLED}


class StudyStore:
    """Studies and their cells. Safe to share between threads. Unknown ids, and those of other tenants, raise
    ``LayercutError("study_not_found")``.
    """

    def __init__(self, engine: Engine, actor: Actor | None = None) -> None:
        self._engine, self._actor = engine, actor
        #: Whose studies what users do is about; None is everybody's.
        self._tenant = None if actor is None else actor.tenant

    def of(self, actor: Actor) -> StudyStore:
        """The same, for one tenant, and what is done stands in the audit log."""
        return StudyStore(self._engine, actor)

    # What users do

    def create(self, new: NewStudy, within: Within | None = None) -> StudyRows:
        """Write a study and all its cells down; nothing is queued yet. ``within``: as ``JobStore.create``. As all that
        changes a study, it answers without its cells.
        """
        study_id, actor = new_id("study"), self._actor or Actor(DEFAULT_TENANT)
        row = {
            "id": study_id, "tenant": actor.tenant, "name": new.name, "status": StudyStatus.RUNNING,
            "created_at": later(), "began_at": later(), "request": new.request, "grids": [new.grid],
            "budget": new.budget.model_dump(mode="json"), "key_id": actor.key_id, "request_id": actor.request_id,
            "traceparent": actor.traceparent,
        }  # fmt: skip
        with self._engine.begin() as connection:
            connection.execute(insert(studies).values(**row))
            add_cells(connection, study_id, new.cells, new.order)
            self._note(connection, "study.create", study_id)
            return _made(connection, study_id, within)

    def get(self, study_id: str) -> StudyRows:
        with reading(self._engine) as connection:
            return read_study(connection, study_id, self._tenant)

    def revision(self, study_id: str) -> Revision | None:
        """None while something of it is open."""
        with reading(self._engine) as connection:
            return read_revision(connection, study_id, self._tenant)

    def page(self, *, after: str | None = None, limit: int = 20) -> tuple[list[StudyRows], bool]:
        """One page, newest first, without their cells, and whether there is more. Raises ``invalid_cursor``."""
        if after is not None and not is_study_id(after):
            raise LayercutError(
                "invalid_cursor", f"{after[:80]!r} is not the id of a study of this list", param="after"
            )
        query = select(studies, later().label("now")).order_by(studies.c.id.desc()).limit(limit + 1)
        query = query if self._tenant is None else query.where(studies.c.tenant == self._tenant)
        query = query if after is None else query.where(studies.c.id < after)
        with reading(self._engine) as connection:
            found = connection.execute(query).all()
            tallies = read_tallies(connection, [row.id for row in found[:limit]]) if found else {}
            page = [as_study(row, [], tallies[row.id]) for row in found[:limit]]
        return page, len(found) > limit

    def cancel(self, study_id: str) -> StudyRows:
        """Cancel what has not ended; the second time nothing happens. Raises ``study_ended`` for a finished one."""
        with self._engine.begin() as connection:
            if lifecycle.cancel(connection, locked(connection, study_id, self._tenant)):
                self._note(connection, "study.cancel", study_id)
            return read_head(connection, study_id)

    def resume(self, study_id: str, asked: ResumeStudy, within: Within | None = None) -> StudyRows:
        """Go on with what was not paid, cancelled or, where asked for, failed. Raises ``study_ended``."""
        with self._engine.begin() as connection:
            lifecycle.resume(connection, locked(connection, study_id, self._tenant), asked)
            self._note(connection, "study.resume", study_id)
            return _made(connection, study_id, within)

    def add(self, study_id: str, new: NewStudy, within: Within | None = None, *, most: int | None = None) -> StudyRows:
        """Add the cells of another grid; those that the study has already change nothing. ``at`` of the cells counts
        grids from the one that it is to be. Raises ``study_too_large`` where it would have more than ``most`` cells.
        """
        with self._engine.begin() as connection:
            row = locked(connection, study_id, self._tenant)
            state = _ADDED_AS.get(StudyStatus(row.status), CellState.WAITING)
            grid = len(row.grids)
            check_size(connection, row, [cell.key for cell in new.cells], most)
            cells = [_added(cell, grid, state, row.status_reason) for cell in new.cells]
            if add_cells(connection, study_id, cells, new.order):
                mine = update(studies).where(studies.c.id == study_id)
                connection.execute(mine.values(grids=[*row.grids, new.grid]))
                if row.status == StudyStatus.FINISHED:
                    lifecycle.begin_anew(connection, row)
                self._note(connection, "study.add_cells", study_id)
            return _made(connection, study_id, within)

    def delete(self, study_id: str, *, with_jobs: bool = False) -> None:
        """Delete it; its jobs stay, unless asked otherwise. Raises ``study_not_ended``."""
        with self._engine.begin() as connection:
            lifecycle.remove(connection, locked(connection, study_id, self._tenant), with_jobs=with_jobs)
            self._note(connection, "study.delete", study_id)

    def keys(self, study_id: str) -> set[str]:
        """Of the cells that it has."""
        with reading(self._engine) as connection:
            mine = select(study_cells.c.key).join(studies, studies.c.id == study_cells.c.study_id)
            return set(connection.scalars(mine.where(owned(study_id, self._tenant))))

    def known(self, fingerprints: Collection[str]) -> dict[str, str]:
        """By fingerprint: the job of this tenant that has done it, and whose files are kept."""
        with reading(self._engine) as connection:
            return feeding.known_jobs(connection, self._tenant or DEFAULT_TENANT, fingerprints)

    # What feeds the queue: for all tenants

    def running(self) -> list[str]:
        with reading(self._engine) as connection:
            return feeding.running(connection)

    def standing(self, study_id: str) -> Standing | None:
        """Where it stands; None where it runs no more."""
        with reading(self._engine) as connection:
            return feeding.standing(connection, study_id)

    def grids(self, study_id: str) -> tuple[dict[str, object], list[dict[str, object]]]:
        """The request, and all grids; both empty where it is gone."""
        with reading(self._engine) as connection:
            row = connection.execute(select(studies.c.request, studies.c.grids).where(studies.c.id == study_id)).first()
        return ({}, []) if row is None else (row.request, row.grids)

    def next_cells(self, study_id: str, limit: int, after: int = -1) -> Sequence[Waiting]:
        """In order; those whose place is later than ``after``."""
        with reading(self._engine) as connection:
            return feeding.next_cells(connection, study_id, limit, after)

    def has_room(self, tenant: str) -> bool:
        """Whether the tenant's quotas have room for a job."""
        with reading(self._engine) as connection:
            return has_room(connection, tenant)

    def link_known(self, study_id: str) -> int:
        """Give cells that wait the jobs that have done the same by now; how many that were. It costs nothing."""
        with self._engine.begin() as connection:
            return feeding.link_known(connection, study_id)

    def begin(self, study_id: str, ready: Sequence[Ready], window: int) -> Fed:
        """Queue jobs of cells that wait, as many as there is room for."""
        with self._engine.begin() as connection:
            return feeding.begin(connection, study_id, ready, window)

    def impossible(self, study_id: str, reasons: Mapping[int, str]) -> None:
        with self._engine.begin() as connection:
            feeding.impossible(connection, study_id, reasons)

    def ended_pilots(self, study_id: str) -> Sequence[Pilot]:
        with reading(self._engine) as connection:
            return feeding.ended_pilots(connection, study_id)

    def judge(self, study_id: str, pilot: Pilot, out: Mapping[int, str]) -> None:
        with self._engine.begin() as connection:
            feeding.judge(connection, study_id, pilot, out)

    def pause(self, study_id: str, reason: str) -> bool:
        with self._engine.begin() as connection:
            return feeding.pause(connection, study_id, reason)

    def finish(self, study_id: str) -> bool:
        with self._engine.begin() as connection:
            return feeding.finish(connection, study_id)

    def _note(self, connection: Connection, action: str, target: str) -> None:
        if self._actor is not None:
            note(connection, self._actor, action, target)


def _made(connection: Connection, study_id: str, within: Within | None) -> StudyRows:
    made = read_head(connection, study_id)
    if within is not None:
        within(connection, made)
    return made


def _added(cell: NewCell, grid: int, state: CellState, reason: str | None) -> NewCell:
    as_added = cell.state if cell.state is not CellState.WAITING or cell.job_id else state
    why = cell.reason if as_added is cell.state else reason
    return replace(cell, at=(grid, *cell.at[1:]), state=as_added, reason=why)
