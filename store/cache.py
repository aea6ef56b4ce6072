"""The cache: what is made once by fingerprint and read by many. One attempt makes it; the others wait, and then read.

There is no lease of the making's own: it is that of the attempt that makes. So it is renewed with the job's heartbeat,
and whatever ends the attempt, its release, its cancelling or its worker's death, frees the making too.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    and_,
    delete,
    exists,
    func,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError

from store.columns import later
from store.leases import Lease
from store.rows import ACTIVE
from store.tables import DEFAULT_TENANT, cache, jobs

MAKING, MADE = "making", "made"

# Rows of each kind evicted by one call at most: the next call takes the rest.
BATCH = 100


@dataclass(frozen=True)
class Have:
    """It is there. ``prefix`` is where its files are, ``seconds`` what making it took, ``job_id`` who made it: None
    where that is another tenant's job.
    """

    prefix: str
    seconds: float
    job_id: str | None


@dataclass(frozen=True)
class Make:
    """The caller makes it, and nobody else while the caller's lease holds. Its files go to ``prefix``.

    ``lost`` is where a maker that was lost may have left files: the caller deletes them.
    """

    prefix: str
    lost: str | None = None


@dataclass(frozen=True)
class Wait:
    """The job ``job_id`` is making it; None where that is another tenant's."""

    job_id: str | None


class CacheStore:
    """Rows only: the files are the caller's to write, and to delete where a method says so. Thread-safe.

    Each tenant has a pool of its own; those that say so share one more, in which nobody is told of others' jobs.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def take(self, lease: Lease, kind: str, fingerprint: str) -> Have | Make | Wait:
        """Ask for a thing. One asker is told to make it; when that one is lost, the next to ask is."""
        with self._engine.begin() as connection:
            pool = lease.pool
            row = _locked(connection, pool, fingerprint) or _put_down(connection, lease, kind, fingerprint)
            if row is None:
                return Make(_prefix(kind, fingerprint, lease.token))
            if row.state == MADE:
                _change(connection, pool, fingerprint, used_at=later())
                return Have(row.prefix, row.seconds, _own_job(connection, row, lease.tenant))
            if row.lease_token == lease.token:
                return Make(row.prefix)
            if connection.scalar(select(_maker_lives(row))):
                return Wait(_own_job(connection, row, lease.tenant))
            prefix = _prefix(kind, fingerprint, lease.token)
            mine = {"job_id": lease.job_id, "lease_token": lease.token, "prefix": prefix}
            _change(connection, pool, fingerprint, **mine, created_at=later())
            return Make(prefix, row.prefix)

    def find(self, fingerprint: str, *, tenant: str = DEFAULT_TENANT, pool: str = DEFAULT_TENANT) -> Have | None:
        """The thing where it is there, which then counts as used now; nobody is told to make it."""
        with self._engine.begin() as connection:
            row = _locked(connection, pool, fingerprint)
            if row is None or row.state != MADE:
                return None
            _change(connection, pool, fingerprint, used_at=later())
            return Have(row.prefix, row.seconds, _own_job(connection, row, tenant))

    def made(self, lease: Lease, fingerprint: str, *, seconds: float, size: int) -> bool:
        """All files are at the prefix, ``size`` bytes. False where it is no longer the caller's: delete the files."""
        values = {"state": MADE, "seconds": seconds, "bytes": size, "used_at": later()}
        with self._engine.begin() as connection:
            mine = update(cache).where(_making(lease, fingerprint)).values(**values)
            return connection.execute(mine).rowcount == 1

    def abandon(self, lease: Lease, fingerprint: str) -> None:
        """The caller lives and will not make it after all."""
        with self._engine.begin() as connection:
            connection.execute(delete(cache).where(_making(lease, fingerprint)))

    def forget(self, fingerprint: str, prefix: str) -> None:
        """The files at ``prefix`` are gone or broken: the next to ask makes the thing anew."""
        gone = delete(cache).where(cache.c.fingerprint == fingerprint, cache.c.prefix == prefix, cache.c.state == MADE)
        with self._engine.begin() as connection:
            connection.execute(gone)

    def evict(self, max_bytes: int) -> list[str]:
        """Forget what was not used for longest until ``max_bytes`` are left, and makings whose maker is lost.

        Returns the prefixes of which the caller deletes the files. What is being made stays.
        """
        with self._engine.begin() as connection:
            # A batch of each: however many makings were lost, what does not fit goes.
            rows = [*_lost_makings(connection), *_beyond(connection, max_bytes)[:BATCH]]
            if rows:
                gone = [(row.pool, row.fingerprint) for row in rows]
                connection.execute(delete(cache).where(tuple_(cache.c.pool, cache.c.fingerprint).in_(gone)))
            return [row.prefix for row in rows]

    def evict_again(self, prefix: str) -> None:
        """The files at a prefix that ``evict`` returned could not be deleted: it returns it once more."""
        row = {"pool": DEFAULT_TENANT, "fingerprint": hashlib.sha256(prefix.encode()).hexdigest(), "prefix": prefix}
        lost = {"kind": "", "state": MAKING, "job_id": "", "lease_token": ""}
        with self._engine.begin() as connection:
            connection.execute(insert(cache).values(**row, **lost, created_at=later(), used_at=later()))


def _prefix(kind: str, fingerprint: str, token: str) -> str:
    """With the token in it, so that no two makers ever write to one place."""
    return f"cache/{kind}/{fingerprint}/{token}"


def _own_job(connection: Connection, row: Row[Any], tenant: str) -> str | None:
    """The job that made, or makes, ``row``, for the eyes of ``tenant``."""
    owned = select(jobs.c.id).where(jobs.c.id == row.job_id, jobs.c.tenant == tenant)
    return row.job_id if row.pool == tenant else connection.scalar(owned)


def _locked(connection: Connection, pool: str, fingerprint: str) -> Row[Any] | None:
    return connection.execute(select(cache).where(_named(pool, fingerprint)).with_for_update()).first()


def _named(pool: str, fingerprint: str) -> ColumnElement[bool]:
    return and_(cache.c.pool == pool, cache.c.fingerprint == fingerprint)


def _put_down(connection: Connection, lease: Lease, kind: str, fingerprint: str) -> Row[Any] | None:
    """None where the caller is the maker now; the row of one who was faster, else."""
    prefix = _prefix(kind, fingerprint, lease.token)
    row = {
        "pool": lease.pool,
        "kind": kind,
        "state": MAKING,
        "prefix": prefix,
        "job_id": lease.job_id,
        "lease_token": lease.token,
    }
    try:
        with connection.begin_nested():
            connection.execute(
                insert(cache).values(fingerprint=fingerprint, **row, created_at=later(), used_at=later())
            )
    except IntegrityError:
        return _locked(connection, lease.pool, fingerprint)
    return None


def _change(connection: Connection, pool: str, fingerprint: str, **values: Any) -> None:
    connection.execute(update(cache).where(_named(pool, fingerprint)).values(**values))


def _making(lease: Lease, fingerprint: str) -> ColumnElement[bool]:
    mine = (cache.c.lease_token == lease.token, cache.c.state == MAKING)
    return and_(_named(lease.pool, fingerprint), *mine)


def _maker_lives(row: Any) -> ColumnElement[bool]:
    """``row`` is a row, or the table for a query over all of them."""
    return exists().where(
        jobs.c.id == row.job_id,
        jobs.c.lease_token == row.lease_token,
        jobs.c.status.in_(ACTIVE),
        jobs.c.lease_expires_at > later(),
    )


def _lost_makings(connection: Connection) -> list[Row[Any]]:
    lost = select(cache).where(cache.c.state == MAKING, ~_maker_lives(cache.c)).with_for_update(skip_locked=True)
    return list(connection.execute(lost.limit(BATCH)))


def _beyond(connection: Connection, max_bytes: int) -> list[Row[Any]]:
    """The made rows that do not fit into ``max_bytes`` when the latest used go in first."""
    made = (
        select(cache).where(cache.c.state == MADE).order_by(cache.c.used_at.desc(), cache.c.fingerprint, cache.c.pool)
    )
    if (connection.scalar(select(func.sum(made.subquery().c.bytes))) or 0) <= max_bytes:
        return []
    total, beyond = 0, []
    for row in connection.execute(made.with_for_update(skip_locked=True)):
        total += row.bytes
        if total > max_bytes:
            beyond.append(row)
    return beyond
