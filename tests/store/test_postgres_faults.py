"""A PostgreSQL that is frozen, restarted, or throws its clients out: calls end in time, and the next one works."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from store.database import migrate, open_engine
from store.passing import passing
from tests.support.postgres_server import PostgresServer
from tests.support.processes import eventually

SECONDS = 1.0


@pytest.fixture
def engine(fragile_postgres: PostgresServer) -> Iterator[Engine]:
    engine = open_engine(fragile_postgres.url, SECONDS)
    assert ask(engine) == 1
    try:
        yield engine
    finally:
        fragile_postgres.thaw()
        engine.dispose()


def ask(engine: Engine) -> object:
    with engine.connect() as connection:
        return connection.execute(text("SELECT 1")).scalar()


def refused(call: Callable[[], object]) -> str | None:
    """The code of what it raises; it must come within twice the time, however many are in the way."""
    began = time.monotonic()
    with pytest.raises(Exception) as raised:  # noqa: PT011 - which of them is what is looked at
        call()
    assert time.monotonic() - began < 2 * SECONDS
    found = passing(raised.value)
    return found.code if found else None


def served_again(engine: Engine) -> bool:
    """Whether it is, soon: while one thread asks a server that was silent, those who come meanwhile are refused."""

    def served() -> bool:
        try:
            return ask(engine) == 1
        except OperationalError as error:
            if passing(error) is None:
                raise
            return False

    return bool(eventually(served))


def test_a_frozen_server_is_given_up_and_used_again(fragile_postgres: PostgresServer, engine: Engine) -> None:
    fragile_postgres.freeze()
    assert refused(lambda: ask(engine)) == "database_unavailable"
    assert refused(lambda: ask(engine)) == "database_unavailable"
    fragile_postgres.thaw()
    assert served_again(engine)


def test_a_server_that_freezes_in_the_middle_of_a_transaction(fragile_postgres: PostgresServer, engine: Engine) -> None:
    def freeze_between() -> None:
        with engine.begin() as connection:
            connection.execute(text("SELECT 1"))
            fragile_postgres.freeze()
            connection.execute(text("SELECT 2"))

    assert refused(freeze_between) == "database_unavailable"
    fragile_postgres.thaw()
    assert served_again(engine)


def test_a_frozen_server_holds_up_no_crowd(fragile_postgres: PostgresServer, engine: Engine) -> None:
    """As many as there are, all are told within one wait: those who come later do not queue behind those who wait."""
    fragile_postgres.freeze()
    with ThreadPoolExecutor(40) as many:
        began = time.monotonic()
        # In turns of 40, each of which waits for itself, they took 25 times SECONDS.
        codes = list(many.map(lambda _: refused(lambda: ask(engine)), range(1000)))
        assert time.monotonic() - began < 10 * SECONDS
    assert set(codes) == {"database_unavailable"}
    fragile_postgres.thaw()
    assert served_again(engine)


def test_a_crowd_larger_than_the_pool_is_served(engine: Engine) -> None:
    with ThreadPoolExecutor(40) as many:
        assert set(many.map(lambda _: ask(engine), range(300))) == {1}


@pytest.mark.parametrize(
    "fault", [PostgresServer.restart, PostgresServer.disconnect_all], ids=["restart", "thrown out"]
)
def test_after_a_fault_the_next_call_works(
    fragile_postgres: PostgresServer, engine: Engine, fault: Callable[[PostgresServer], None]
) -> None:
    fault(fragile_postgres)
    assert ask(engine) == 1


def test_a_server_that_is_down_refuses_at_once(fragile_postgres: PostgresServer, engine: Engine) -> None:
    fragile_postgres.stop()
    try:
        assert refused(lambda: ask(engine)) == "database_unavailable"
    finally:
        fragile_postgres.start()
    assert ask(engine) == 1


def test_a_statement_that_takes_too_long_is_ended_by_the_server_and_costs_no_connection(engine: Engine) -> None:
    with engine.connect() as connection:
        me = connection.execute(text("SELECT pg_backend_pid()")).scalar()
    slow = text("SELECT pg_sleep(30)")
    with engine.connect() as connection:
        assert refused(lambda: connection.execute(slow)) == "database_unavailable"
        connection.rollback()
        assert connection.execute(text("SELECT pg_backend_pid()")).scalar() == me


def test_a_migration_may_wait_for_longer_than_a_call(fragile_postgres: PostgresServer, engine: Engine) -> None:
    """Another process migrates, and takes its time."""
    begun, ended = threading.Event(), threading.Event()
    other = open_engine(fragile_postgres.url)

    def hold() -> None:
        with other.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": 0x6C61796572637574})
            begun.set()
            ended.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    assert begun.wait(10)
    threading.Timer(2 * SECONDS, ended.set).start()
    migrate(engine)
    holder.join()
    other.dispose()
    with engine.connect() as connection:
        assert connection.execute(text("SHOW statement_timeout")).scalar() == f"{round(900 * SECONDS)}ms"
