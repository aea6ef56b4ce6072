"""Workers as they announce themselves: who lives, what they do, what locks their runners in. No job depends on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy import ColumnElement, Engine, Row, Select, delete, insert, select, update

from api_schemas.workers import About, SandboxReport, WorkerInfo, WorkerState, activity
from store.columns import later
from store.database import reading
from store.tables import jobs, workers

#: A worker tells three times in a minute that it lives.
LIVING_SECONDS = 90.0
#: A worker that was not heard of for so long is gone for good: a day.
FORGOTTEN_SECONDS = 86_400.0


@dataclass(frozen=True)
class Doing:
    """The attempt that a worker is at, and how long ago that last went on."""

    job_id: str
    attempt: int
    idle_seconds: float = 0.0


class WorkerStore:
    """One method is one transaction. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def announce(self, name: str, sandbox: SandboxReport, about: About | None = None) -> None:
        """The worker starts now; who was not seen for a day is forgotten."""
        row: dict[str, Any] = {"name": name, "sandbox": sandbox.model_dump(mode="json")}
        row["about"] = None if about is None else about.model_dump(mode="json")
        with self._engine.begin() as connection:
            gone = (workers.c.name == name) | (workers.c.seen_at < later(-FORGOTTEN_SECONDS))
            connection.execute(delete(workers).where(gone))
            connection.execute(insert(workers).values(**row, started_at=later(), seen_at=later()))

    def seen(self, name: str, doing: Doing | None = None, paused_reason: str | None = None) -> bool:
        """The worker lives, and does that (None: it waits); why it takes no more jobs (None: it does).

        False where it is not known: it was forgotten, and announces itself anew.
        """
        values = {"job_id": None, "attempt": None, "progress_at": None} if doing is None else _values(doing)
        mine = update(workers).where(workers.c.name == name)
        with self._engine.begin() as connection:
            told = connection.execute(mine.values(seen_at=later(), paused_reason=paused_reason, **values))
            return told.rowcount == 1

    def describe(self, name: str, about: About) -> None:
        """The worker has learnt more of what it is. One that is not known is not told of."""
        with self._engine.begin() as connection:
            connection.execute(
                update(workers).where(workers.c.name == name).values(about=about.model_dump(mode="json"))
            )

    def leave(self, name: str) -> None:
        """The worker ends."""
        with self._engine.begin() as connection:
            connection.execute(delete(workers).where(workers.c.name == name))

    def living(self, within_seconds: float) -> list[WorkerState]:
        """Those that were seen in the last ``within_seconds``, by name."""
        query = select(workers).where(seen_within(within_seconds)).order_by(workers.c.name)
        with reading(self._engine) as connection:
            return [WorkerState.model_validate(dict(row._mapping)) for row in connection.execute(query)]

    def list(self, within_seconds: float, tenant: str | None) -> list[WorkerInfo]:
        """The same, with what they do. The jobs are named that are ``tenant``'s; None: all."""
        with reading(self._engine) as connection:
            return [_as_worker(row, tenant) for row in connection.execute(_with_owners(within_seconds))]


def seen_within(seconds: float) -> ColumnElement[bool]:
    return workers.c.seen_at > later(-seconds)


def _values(doing: Doing) -> dict[str, Any]:
    return {"job_id": doing.job_id, "attempt": doing.attempt, "progress_at": later(-doing.idle_seconds)}


def _with_owners(within_seconds: float) -> Select[Any]:
    query = select(workers, jobs.c.tenant.label("owner")).outerjoin(jobs, jobs.c.id == workers.c.job_id)
    return query.where(seen_within(within_seconds)).order_by(workers.c.name)


def _as_worker(row: Row[Any], tenant: str | None) -> WorkerInfo:
    shown = tenant is None or row.owner == tenant
    return WorkerInfo(
        name=row.name,
        started_at=row.started_at,
        seen_at=row.seen_at,
        sandbox=row.sandbox,
        state=activity(row.job_id, row.paused_reason),
        paused_reason=row.paused_reason,
        about=_about(row.about),
        job_id=row.job_id if shown else None,
        attempt=row.attempt if shown else None,
        progress_at=row.progress_at,
    )


def _about(told: Any) -> About | None:
    """As far as it can be read: a worker of a newer layercut tells its speeds, or itself, as this one does not know."""
    for known in (told, {**told, "speeds": None} if isinstance(told, dict) else None):
        try:
            return None if known is None else About.model_validate(known)
        except ValidationError:
            continue
    return None
