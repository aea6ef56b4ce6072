"""Connections to PostgreSQL that give up. A server that is frozen goes on acknowledging what it is sent, so neither
libpq's timeouts nor TCP's end a call that waits for it: ours do.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import URL, Connection, Engine, PoolProxiedConnection, QueuePool, create_engine, event, text

from store.silence import Silence
from store.threads import start_beside

#: Of the time for an answer. What the server ends by itself costs no connection.
_LOCKS, _STATEMENTS = 0.8, 0.9
#: What a connection has that was waited for until the end: a server that is busy is not taken for one that is silent.
_LEAST_SECONDS = 0.25
#: A process that was frozen in the middle of a transaction keeps its locks so many times as long.
_IDLE = 4
#: Of the URL: `none` where a pooler gives each transaction another of its connections, and knows no prepared statement.
PREPARED = "prepare_threshold"
_KEEPALIVE = {"keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}

Answer = TypeVar("Answer")

_checkout = threading.local()


class ServerSilent(psycopg.OperationalError):
    """No answer came in time. Whether the server has done what it was told is not known."""


class TimedConnection(psycopg.Connection[Any]):
    """Each wait for the server has ``seconds``; after that the connection is closed, since an answer may come late."""

    seconds: float | None = None
    silence: Silence | None = None

    def wait(self, gen: PQGen[Answer], interval: float = 0.1, timeout: float | None = None) -> Answer:
        try:
            return super().wait(gen, interval, _left(self.seconds) if timeout is None else timeout)
        except psycopg.OperationalError as error:
            # A connection that was lost is closed by now, and an answer of the server has a state.
            if self.closed or error.sqlstate is not None:
                raise
            self.close()
            if self.silence is not None:
                self.silence.begin()
            raise ServerSilent("no answer came in time") from None


class TimedPool(QueuePool):
    """All that one checkout takes (a place, a ping, a new connection after that) has ``seconds`` together."""

    seconds: float
    silence: Silence

    def connect(self) -> PoolProxiedConnection:
        if not self.silence.is_over():
            raise ServerSilent("the server has not answered for a while")
        _checkout.deadline = time.monotonic() + self.seconds
        try:
            return super().connect()
        finally:
            _checkout.deadline = None

    def recreate(self) -> TimedPool:
        fresh = super().recreate()
        assert isinstance(fresh, TimedPool)
        fresh.seconds, fresh.silence = self.seconds, self.silence
        return fresh


def open_postgres(url: URL, seconds: float, options: dict[str, Any]) -> Engine:
    """An engine whose database has ``seconds`` to connect, to answer each statement, and to free a connection.

    ``options`` are for ``create_engine``. What the URL itself says of a connection goes before what is set here.
    """
    arguments = {name: value for name, value in _arguments(url, seconds).items() if name not in url.query}
    if PREPARED in url.query:  # text there, a number to psycopg
        asked = str(url.query[PREPARED])
        arguments[PREPARED] = int(asked) if asked.isdecimal() else None
        url = url.difference_update_query([PREPARED])
    engine = create_engine(url, poolclass=TimedPool, pool_pre_ping=True, connect_args=arguments, **options)
    pool = engine.pool
    assert isinstance(pool, TimedPool)
    _, parameters = engine.dialect.create_connect_args(url)
    silence = Silence(lambda: _answers({**parameters, **arguments}))
    pool.seconds, pool.silence = seconds, silence

    def connect(_dialect: object, _record: object, given: tuple[Any, ...], named: dict[str, Any]) -> TimedConnection:
        connection = _connect_in_time(lambda: TimedConnection.connect(*given, **named), seconds, silence)
        connection.seconds, connection.silence = seconds, silence
        return connection

    event.listen(engine, "do_connect", connect)
    return engine


@contextmanager
def patient(connection: Connection, seconds: float) -> Iterator[None]:
    """A transaction on a connection of ``open_postgres`` whose statements have ``seconds`` each."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, TimedConnection)
    usual, driver.seconds = driver.seconds, seconds
    try:
        with connection.begin():
            for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
                connection.execute(
                    text("SELECT set_config(:name, :value, true)"), {"name": name, "value": _ms(seconds)}
                )
            yield
    finally:
        driver.seconds = usual


def _answers(parameters: dict[str, Any]) -> bool:
    try:
        TimedConnection.connect(**parameters).close()
    except psycopg.errors.ConnectionTimeout:
        return False
    except psycopg.Error:
        pass  # refused, or told to wait: that is an answer, which whoever connects gets as well
    return True


def _arguments(url: URL, seconds: float) -> dict[str, Any]:
    limits = {
        "lock_timeout": _LOCKS * seconds,
        "statement_timeout": _STATEMENTS * seconds,
        "idle_in_transaction_session_timeout": _IDLE * seconds,
    }
    options = " ".join(f"-c {name}={_ms(value)}" for name, value in limits.items())
    return {
        **_KEEPALIVE,
        "tcp_user_timeout": _ms(max(seconds, 10.0)),
        # Of each address that the name has; libpq takes no less than 2, and _connect_in_time does not wait for it.
        "connect_timeout": max(2, math.ceil(seconds)),
        "options": options,
    }


def _ms(seconds: float) -> str:
    return str(round(seconds * 1000))


def _left(seconds: float | None) -> float | None:
    """What a step has of the ``seconds`` that each has, and of those of the checkout that it is part of."""
    deadline: float | None = getattr(_checkout, "deadline", None)
    if deadline is None or seconds is None:
        return seconds
    return min(seconds, max(_LEAST_SECONDS, deadline - time.monotonic()))


def _connect_in_time(connect: Callable[[], TimedConnection], seconds: float, silence: Silence) -> TimedConnection:
    """Connect in another thread: a name server that hangs, and several addresses, take longer than a connection may."""
    if silence.holds:  # the ping of an older connection has waited in vain, a moment ago
        raise ServerSilent("no answer came in time")
    made = start_beside(connect, "database", TimedConnection.close)
    try:
        return made.result(_left(seconds))
    except TimeoutError:
        if not made.cancel():
            return made.result()
        silence.begin()
        raise ServerSilent("no connection was made in time") from None
