"""Which errors pass, told by the real thing wherever it can be made to raise them."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable
from pathlib import Path

import kombu.exceptions
import obstore.exceptions
import psycopg
import pytest
import redis.exceptions
from psycopg import errors as postgres
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as NoConnection

from api_schemas.errors import ERRORS, LayercutError
from store.artifacts import ArtifactStore
from store.database import open_engine
from store.passing import MESSAGES, passing


def code(error: BaseException) -> str | None:
    found = passing(error)
    return found.code if found else None


def raised(call: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as found:  # noqa: PT011 - which of them is what is looked at
        call()
    return found.value


def wrapped(error: Exception) -> Exception:
    """As SQLAlchemy has it."""
    return DBAPIError("INSERT INTO jobs", {"secret": "x"}, error)


def sqlite_error(number: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("as the driver words it")
    error.sqlite_errorcode = number
    return error


PASSING = {
    "database_unavailable": [
        NoConnection("QueuePool limit reached"),
        psycopg.OperationalError("connection to server at 10.0.0.1 failed"),
        *(
            wrapped(kind("as the server words it"))
            for kind in (
                postgres.AdminShutdown,
                postgres.CannotConnectNow,
                postgres.CrashShutdown,
                postgres.TooManyConnections,
                postgres.DeadlockDetected,
                postgres.SerializationFailure,
                postgres.ReadOnlySqlTransaction,
                postgres.LockNotAvailable,
                postgres.QueryCanceled,
                postgres.ConnectionFailure,
                postgres.IoError,
            )
        ),
        wrapped(sqlite_error(sqlite3.SQLITE_BUSY)),
        wrapped(sqlite_error(sqlite3.SQLITE_IOERR_WRITE)),
        wrapped(sqlite_error(sqlite3.SQLITE_READONLY_DBMOVED)),
    ],
    "storage_full": [
        wrapped(postgres.DiskFull("could not extend file")),
        wrapped(sqlite_error(sqlite3.SQLITE_FULL)),
        OSError(errno.ENOSPC, "No space left on device", "/secret/place"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        obstore.exceptions.GenericError("Unable to copy data to file: No space left on device (os error 28)"),
    ],
    "storage_unavailable": [
        OSError(errno.EIO, "Input/output error", "/secret/place"),
        OSError(errno.ESTALE, "Stale file handle"),
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
        obstore.exceptions.GenericError("Server returned non-2xx status code: 503 Slow Down: /secret/place"),
        obstore.exceptions.PermissionDeniedError("/secret/place"),
    ],
    "hub_unavailable": [LayercutError("hub_unavailable", "the hub did not answer for 'a/b'")],
    "not_ready": [kombu.exceptions.OperationalError("Error 111"), redis.exceptions.ConnectionError("Error 111")],
}

LASTING = [
    ValueError("a mistake of ours"),
    FileNotFoundError(errno.ENOENT, "No such file"),
    wrapped(postgres.UniqueViolation("duplicate key")),
    wrapped(postgres.UndefinedTable("no such table")),
    IntegrityError("INSERT", {}, sqlite3.IntegrityError("UNIQUE constraint failed")),
    sqlite3.OperationalError("no such table: jobs"),
    obstore.exceptions.InvalidPathError("a//b"),
    LayercutError("job_not_found", "there is no such job"),
]


@pytest.mark.parametrize(
    ("expected", "error"), [(name, error) for name, errors in PASSING.items() for error in errors], ids=repr
)
def test_what_passes_has_its_code_and_says_nothing_of_the_inside(expected: str, error: Exception) -> None:
    found = passing(error)
    assert found is not None
    assert found.code == expected
    assert not any(word in found.message for word in ("secret", "INSERT", "10.0.0.1"))


@pytest.mark.parametrize("error", LASTING, ids=repr)
def test_a_mistake_does_not_pass(error: Exception) -> None:
    assert passing(error) is None


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (
            obstore.exceptions.PermissionDeniedError("Error performing PUT /secret/place: 403 Forbidden"),
            "key has expired or was revoked",
        ),
        (
            obstore.exceptions.UnauthenticatedError("Error performing PUT /secret/place: 401 Unauthorized"),
            "key has expired or was revoked",
        ),
        (
            obstore.exceptions.GenericError("Unable to create file /secret/place: Read-only file system (os error 30)"),
            "its folder is read-only",
        ),
    ],
    ids=repr,
)
def test_a_store_that_refuses_passes_and_is_told_as_that(error: Exception, why: str) -> None:
    """A key that has expired is renewed by an operator: until then no job is to fail for it."""
    found = passing(error)
    assert found is not None
    assert (found.code, "secret" in found.message) == ("storage_unavailable", False)
    assert "refuses" in found.message
    assert why in found.message


def test_the_cause_counts_and_what_was_decided_stays_so() -> None:
    def failing(outer: Exception) -> None:
        raise outer from OSError(errno.ENOSPC, "No space left on device")

    assert code(raised(lambda: failing(RuntimeError("while a file was written")))) == "storage_full"
    assert code(raised(lambda: failing(LayercutError("export_failed", "this file cannot be made")))) is None


def test_an_error_that_is_its_own_cause_ends() -> None:
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first
    assert passing(first) is None


def test_every_code_is_one_that_may_be_tried_again() -> None:
    assert all(ERRORS[code].retryable for code in MESSAGES)


def test_sqlite_that_is_locked_or_gone(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/no/such/folder.db")
    assert code(raised(engine.connect)) == "database_unavailable"
    locked = open_engine(f"sqlite:///{tmp_path}/layercut.db", seconds=0.05)
    with locked.begin():
        assert code(raised(lambda: locked.begin().__enter__())) == "database_unavailable"
    with locked.connect() as connection:
        assert passing(raised(lambda: connection.execute(text("SELECT * FROM nowhere")))) is None
    locked.dispose()


def test_postgres_that_nobody_listens_for() -> None:
    engine = open_engine("postgresql://user:secret@127.0.0.1:1/layercut", seconds=1)
    assert code(raised(engine.connect)) == "database_unavailable"


def test_a_store_that_is_no_folder(tmp_path: Path) -> None:
    store = ArtifactStore(f"file://{tmp_path}/store")
    (tmp_path / "store").rmdir()
    (tmp_path / "store").write_text("a file")
    assert code(raised(store.check)) == "storage_unavailable"
    assert code(raised(lambda: store.manifest("jobs/x"))) == "storage_unavailable"
