"""Errors that pass: what a database, a store, a hub, a broker or a disk raises while it is away, busy or full.

One table for the gateway, which answers them with 503 or 507, and for the worker, which tries again.
"""

# ruff: noqa: PLC0415 - clients that a process may not have loaded are, when the first error is looked at

from __future__ import annotations

import errno
import re
import sqlite3
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from obstore import exceptions as objects
from sqlalchemy import exc as sql

from api_schemas.errors import LayercutError
from store.object_errors import fault_of

if TYPE_CHECKING:
    import psycopg

#: Of each code, what a caller is told: no path, no SQL and no address, which the errors themselves are full of. Of an
#: object store, ``object_errors`` knows more.
MESSAGES = {
    "database_unavailable": "the database does not answer, or is busy; the same request may work in some seconds",
    "storage_unavailable": "the artifact store does not answer; the same request may work in some seconds",
    "storage_full": "the service has no room left on a disk of its own; its operator has to make some",
    "hub_unavailable": "the model hub does not answer; the same request may work later",
    "source_unavailable": "the object store of a model or dataset does not answer; the same request may work later",
    "not_ready": "the broker does not answer; the same request may work in some seconds",
}

#: By SQLSTATE, and by its first two characters: the class. What is in neither does not pass.
_SQLSTATES = {
    "08": "database_unavailable",  # connection lost
    "25006": "database_unavailable",  # read-only: a standby during a failover
    "40": "database_unavailable",  # deadlock, serialization
    "53": "database_unavailable",  # out of connections, or of memory
    "53100": "storage_full",
    "55P03": "database_unavailable",  # lock_timeout
    "57014": "database_unavailable",  # statement_timeout
    "57P": "database_unavailable",  # stopping, starting
    "58030": "database_unavailable",  # its disk cannot be read
}

#: By SQLite's primary result code.
_SQLITE = {
    sqlite3.SQLITE_BUSY: "database_unavailable",
    sqlite3.SQLITE_LOCKED: "database_unavailable",
    sqlite3.SQLITE_PROTOCOL: "database_unavailable",
    sqlite3.SQLITE_READONLY: "database_unavailable",
    sqlite3.SQLITE_CANTOPEN: "database_unavailable",
    sqlite3.SQLITE_IOERR: "database_unavailable",
    sqlite3.SQLITE_INTERRUPT: "database_unavailable",
    sqlite3.SQLITE_FULL: "storage_full",
}

#: By the system's number. A disk of ours, or a server by a socket: which of them, the number does not say.
_NUMBERS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "storage_full"),
    **dict.fromkeys(
        (errno.EIO, errno.ESTALE, errno.EROFS, errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.EMFILE, errno.ENFILE),
        "storage_unavailable",
    ),
    **dict.fromkeys(
        (errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE, errno.ETIMEDOUT),
        "storage_unavailable",
    ),
    **dict.fromkeys((errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH), "storage_unavailable"),
}

#: What obstore says of a question that no waiting makes right.
_LASTING_OBJECTS = (
    objects.InvalidPathError,
    objects.NotSupportedError,
    objects.AlreadyExistsError,
    objects.PreconditionError,
    objects.NotModifiedError,
    objects.UnknownConfigurationKeyError,
)
_OBJECTS_FULL = re.compile(rf"\(os error ({errno.ENOSPC}|{errno.EDQUOT})\)|status code: 507|<Code>\w*StorageFull<")

#: Of clients that a process may never load: by their module.
_MODULES = {"redis.exceptions": "not_ready"}


def passing(error: BaseException) -> LayercutError | None:
    """``error``, or what caused it, as one that a person should read; None where waiting would not help.

    A ``LayercutError`` has been decided already: it passes where it is retryable and its code stands in ``MESSAGES``.
    """
    for link in links(error):
        if isinstance(link, LayercutError):
            return link if link.kind.retryable and link.code in MESSAGES else None
        code = _code(link)
        if code is not None:
            return LayercutError(code, _message(code, link))
    return None


def links(error: BaseException) -> Iterator[BaseException]:
    """``error`` and its causes, in turn; an error that is its own cause comes once."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or getattr(link, "orig", None)


def _message(code: str, error: BaseException) -> str:
    fault = fault_of(error) if code == "storage_unavailable" else None
    return fault.sentence if fault else MESSAGES[code]


def _code(error: BaseException) -> str | None:
    for kind, code_of in _kinds():
        if isinstance(error, kind):
            return code_of(error)
    return _MODULES.get(type(error).__module__)


def _of_postgres(error: psycopg.Error) -> str | None:
    import psycopg

    state = error.sqlstate
    if state is None:
        # No answer of a server: the connection failed, was lost, or was given up.
        return "database_unavailable" if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)) else None
    return next((_SQLSTATES[state[:length]] for length in (5, 3, 2) if state[:length] in _SQLSTATES), None)


def _of_sqlite(error: sqlite3.Error) -> str | None:
    return _SQLITE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)


def _of_sqlalchemy(error: sql.SQLAlchemyError) -> str | None:
    away = isinstance(error, (sql.TimeoutError, sql.PendingRollbackError))
    return "database_unavailable" if away or getattr(error, "connection_invalidated", False) else None


def _of_objects(error: objects.BaseError) -> str | None:
    if isinstance(error, _LASTING_OBJECTS):
        return None
    return "storage_full" if _OBJECTS_FULL.search(str(error)) else "storage_unavailable"


def _of_system(error: OSError) -> str | None:
    if fault_of(error):  # as a file that is not there, where its whole bucket is not
        return "storage_unavailable"
    return _NUMBERS.get(error.errno or 0)


@cache
def _kinds() -> tuple[tuple[type[BaseException], Callable[[Any], str | None]], ...]:
    """What reads the code of each kind of error out of it."""
    import psycopg
    from kombu.exceptions import OperationalError as BrokerError

    return (
        (psycopg.Error, _of_postgres),
        (sqlite3.Error, _of_sqlite),
        (sql.SQLAlchemyError, _of_sqlalchemy),
        (objects.BaseError, _of_objects),
        (BrokerError, lambda _: "not_ready"),
        (OSError, _of_system),
    )
