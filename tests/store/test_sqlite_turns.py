"""Many who write to one SQLite: those of one process take turns, and a lock that another keeps holds up no crowd."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from store.database import open_engine, reading
from store.passing import passing

SECONDS = 0.3


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{tmp_path}/layercut.db", SECONDS)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE numbers (number INTEGER)"))
    yield engine
    engine.dispose()


def write(engine: Engine) -> str:
    """``written``, or the code of what was raised."""
    try:
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO numbers VALUES (1)"))
    except Exception as error:
        found = passing(error)
        if found is None:
            raise
        return found.code
    return "written"


def count(engine: Engine) -> object:
    with reading(engine) as connection:
        return connection.execute(text("SELECT count(*) FROM numbers")).scalar()


def test_a_writer_waits_for_one_of_its_own_process_for_longer_than_for_others(engine: Engine) -> None:
    began, done = threading.Event(), threading.Event()

    def hold() -> None:
        with engine.begin():
            began.set()
            done.wait(2 * SECONDS)

    with ThreadPoolExecutor(1) as holder:
        held = holder.submit(hold)
        assert began.wait(10)
        assert write(engine) == "written"
        held.result()


def test_a_lock_that_another_process_keeps_holds_up_no_crowd(engine: Engine, tmp_path: Path) -> None:
    with (
        closing(sqlite3.connect(tmp_path / "layercut.db", isolation_level=None)) as other,
        ThreadPoolExecutor(20) as many,
    ):
        other.execute("BEGIN IMMEDIATE")
        # One after the other they would take a minute.
        asked = [many.submit(write, engine) for _ in range(200)]
        assert {answer.result(timeout=20) for answer in asked} == {"database_unavailable"}
        assert count(engine) == 0
        other.execute("ROLLBACK")
        assert write(engine) == "written"


@pytest.mark.parametrize("ends", ["commit", "rollback", "error", "invalidated"])
def test_the_turn_ends_with_the_transaction_however_that_ends(engine: Engine, ends: str) -> None:
    def work() -> None:
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO numbers VALUES (1)"))
            if ends == "rollback":
                connection.rollback()
            elif ends == "error":
                connection.execute(text("no SQL"))
            elif ends == "invalidated":
                connection.invalidate()

    with suppress(SQLAlchemyError):
        work()
    with ThreadPoolExecutor(1) as other:
        assert other.submit(write, engine).result(timeout=10) == "written"
