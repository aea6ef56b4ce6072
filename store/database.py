"""Opening the database, and bringing its tables up to date."""

# ruff: noqa: PLC0415 - what only a migration needs, or only PostgreSQL, no process imports before

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, make_url, text

from store import sqlite
from store.columns import dump_json
from store.passing import passing

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

#: Of what has all the time that it needs: a worker's calls, which are put again, and an operator's.
BUSY_SECONDS = 30.0
#: Of one statement of a migration, and for the process that migrates at the same time.
MIGRATION_SECONDS = 1800.0
#: Processes are started in any order: so long a database may take to be there, and so often that is told.
START_SECONDS, TELL_SECONDS = 60.0, 3.0
#: Open connections of a process. More threads than that wait for each other, which takes milliseconds.
CONNECTIONS = 20
_MIGRATION_LOCK = 0x6C61796572637574  # "layercut"; any number that all processes share


def open_engine(url: str, seconds: float = BUSY_SECONDS) -> Engine:
    """An engine for ``sqlite:///…`` or ``postgresql://…`` (which is made to mean psycopg 3).

    The database has ``seconds`` to connect, to answer a statement and to free a connection or a lock. What then is
    raised passes: ``store.passing``. Pass no engine to a forked child: open one there.
    """
    target = make_url(url)
    pool = {"json_serializer": dump_json, "pool_size": CONNECTIONS, "max_overflow": 0, "pool_timeout": seconds}
    if target.get_backend_name() == "sqlite":
        return sqlite.open_sqlite(target, seconds, pool)
    if target.drivername in ("postgresql", "postgres"):
        target = target.set(drivername="postgresql+psycopg")
    from store import postgres

    return postgres.open_postgres(target, seconds, pool)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads: on SQLite it waits for no writer."""
    with engine.connect().execution_options(**{sqlite.READ_ONLY: True}) as connection, connection.begin():
        yield connection


class NewerDatabase(Exception):
    """A newer layercut has changed the tables to a form that this one does not know."""

    def __init__(self, found: str, newest: str | None) -> None:
        super().__init__(
            f"the database is at revision {found}, and the newest that this layercut knows is {newest}: a newer"
            " layercut has changed it. Start that one, or restore a copy of the database from before"
        )


class DatabaseAway(Exception):
    """A database that did not answer when a process started; says why in one sentence."""

    def __init__(self, engine: Engine, error: Exception) -> None:
        # The driver's own words: of whoever starts a process no address is kept. None of them has a password in it.
        why = str(getattr(error, "orig", error)).partition("\n")[0]
        super().__init__(f"the database {engine.url.host or engine.url.database} cannot be used: {why}")


def migrate_when_there(engine: Engine, tell: Callable[[str], object], seconds: float = START_SECONDS) -> None:
    """As ``migrate``, once the database answers; ``tell`` is given a sentence each time that it is waited for.

    Raises as ``migrate``, and ``DatabaseAway`` where it does not answer within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return migrate(engine)
        except Exception as error:
            if passing(error) is None:
                raise
            away = DatabaseAway(engine, error)
        if time.monotonic() >= deadline:
            raise away
        tell(f"{away}; waiting for it")
        time.sleep(min(TELL_SECONDS, max(0.0, deadline - time.monotonic())))


def migrate(engine: Engine) -> None:
    """Bring the tables to the newest revision, all or nothing. Processes that start at once wait for each other.

    Raises ``NewerDatabase``.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    with engine.connect() as connection, _patient(connection):
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        _check_known(connection, ScriptDirectory.from_config(config))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _check_known(connection: Connection, script: ScriptDirectory) -> None:
    from alembic.migration import MigrationContext

    found = MigrationContext.configure(connection).get_current_revision()
    if found is not None and found not in {known.revision for known in script.walk_revisions()}:
        raise NewerDatabase(found, script.get_current_head())


def _patient(connection: Connection) -> AbstractContextManager[None]:
    """A transaction whose statements have the time that a migration takes."""
    if connection.dialect.name == "sqlite":
        return sqlite.patient(connection, MIGRATION_SECONDS)
    from store import postgres

    return postgres.patient(connection, MIGRATION_SECONDS)
