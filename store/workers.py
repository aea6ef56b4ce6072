"""Workers as they announce themselves: who lives, and what locks their runners in. No job depends on it."""

from __future__ import annotations

from sqlalchemy import Engine, delete, insert, select, update

from api_schemas.workers import SandboxReport, WorkerState
from store.columns import later
from store.database import reading
from store.tables import workers

#: A worker that was not heard of for so long is gone for good: a day.
FORGOTTEN_SECONDS = 86_400.0


class WorkerStore:
    """One method is one transaction. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def announce(self, name: str, sandbox: SandboxReport) -> None:
        """The worker starts now; who was not seen for a day is forgotten."""
        with self._engine.begin() as connection:
            gone = (workers.c.name == name) | (workers.c.seen_at < later(-FORGOTTEN_SECONDS))
            connection.execute(delete(workers).where(gone))
            row = {"name": name, "sandbox": sandbox.model_dump(mode="json")}
            connection.execute(insert(workers).values(**row, started_at=later(), seen_at=later()))

    def seen(self, name: str) -> None:
        """The worker lives."""
        with self._engine.begin() as connection:
            connection.execute(update(workers).where(workers.c.name == name).values(seen_at=later()))

    def pause(self, name: str, reason: str | None) -> None:
        """The worker takes no jobs for now, for that reason; None: it does again."""
        with self._engine.begin() as connection:
            connection.execute(update(workers).where(workers.c.name == name).values(paused_reason=reason))

    def leave(self, name: str) -> None:
        """The worker ends."""
        with self._engine.begin() as connection:
            connection.execute(delete(workers).where(workers.c.name == name))

    def living(self, within_seconds: float) -> list[WorkerState]:
        """Those that were seen in the last ``within_seconds``, by name."""
        query = select(workers).where(workers.c.seen_at > later(-within_seconds)).order_by(workers.c.name)
        with reading(self._engine) as connection:
            return [WorkerState.model_validate(dict(row._mapping)) for row in connection.execute(query)]
