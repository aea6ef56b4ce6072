"""SQLite, as many threads and processes write to it: each waits for its turn, and none for longer than it was told."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import OperationalError

from store.silence import Silence

#: An option of a connection: its transactions only read, and wait for no writer.
READ_ONLY = "layercut_read_only"

_BEGIN = "BEGIN IMMEDIATE"
_WRITING = "layercut_writing"
#: The writers before one in this process may take so many times as long as one that has its turn waits for the others.
_QUEUE = 4


def open_sqlite(url: URL, seconds: float, options: dict[str, Any]) -> Engine:
    """An engine whose writers wait ``seconds`` for those of other processes. ``options`` are for ``create_engine``."""
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": seconds}, **options)
    turns = _Turns(url.database or ":memory:", seconds)

    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        # Transactions are ours (see begin): the driver would begin them late, and not for DDL.
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        _switch_to_wal(connection, time.monotonic() + seconds)

    def begin(connection: Connection) -> None:
        # A deferred transaction that reads, then writes, fails at once if another wrote in between; this one waits.
        if connection.get_execution_options().get(READ_ONLY, False):
            connection.exec_driver_sql("BEGIN")
        else:
            turns.begin(connection)

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    event.listen(engine, "checkin", turns.end)
    return engine


@contextmanager
def patient(connection: Connection, seconds: float) -> Iterator[None]:
    """A transaction on a connection of ``open_sqlite`` that waits ``seconds`` for the writers of other processes."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    (usual,) = driver.execute("PRAGMA busy_timeout").fetchone()
    driver.execute(f"PRAGMA busy_timeout = {round(seconds * 1000)}")
    try:
        with connection.begin():
            yield
    finally:
        driver.execute(f"PRAGMA busy_timeout = {usual}")


class _Turns:
    """The writers of this process, one after the other: SQLite has those who wait draw lots, and some lose for long."""

    def __init__(self, path: str, seconds: float) -> None:
        self._path, self._seconds = path, seconds
        self._turn = threading.Lock()
        self._silence = Silence(self._is_free)

    def begin(self, connection: Connection) -> None:
        """Raise what SQLite raises where it is locked; after one has waited in vain, the others do not."""
        kept = connection.connection.record_info
        assert kept is not None
        if _WRITING not in kept:
            self._wait()
            kept[_WRITING] = True
        try:
            connection.exec_driver_sql(_BEGIN)
        except OperationalError as error:
            if _is_busy(error.orig):
                self._silence.begin()
            raise

    def end(self, _connection: object, record: Any) -> None:
        """The connection is given back, by whatever way its transaction ended."""
        if record.record_info.pop(_WRITING, False):
            self._turn.release()

    def _wait(self) -> None:
        if not (self._silence.is_over() and self._turn.acquire(timeout=_QUEUE * self._seconds)):
            raise _busy()
        if self._silence.holds:
            self._turn.release()
            raise _busy()

    def _is_free(self) -> bool:
        try:
            with closing(sqlite3.connect(self._path, self._seconds, isolation_level=None)) as connection:
                connection.execute(_BEGIN)
                connection.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            return not _is_busy(error)
        return True


def _is_busy(error: BaseException | None) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def _busy() -> OperationalError:
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY
    return OperationalError(_BEGIN, None, error)


def _switch_to_wal(connection: sqlite3.Connection, deadline: float) -> None:
    # The mode stays in the file. Switching does not wait as other statements do when two processes open a new file.
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
