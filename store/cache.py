"""The cache: what is made once by fingerprint and read by many. One attempt makes it; the others wait, and then read.

There is no lease of the making's own: it is that of the attempt that makes. So it is renewed with the job's heartbeat,
and whatever ends the attempt, its release, its cancelling or its worker's death, frees the making too.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from secrets import token_hex
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

#: Of what is gone only files may be left, at its prefix: the row stays until they are deleted, whoever is killed.
MAKING, MADE, GONE = "making", "made", "gone"

# Rows of each kind that one call evicts at most, and prefixes that it returns: the next call takes the rest.
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
    """The caller makes it, and nobody else while the caller's lease holds. Its files go to ``prefix``."""

    prefix: str


@dataclass(frozen=True)
class Wait:
    """The job ``job_id`` is making it; None where that is another tenant's."""

    job_id: str | None


class CacheStore:
    """Rows only: files are the caller's to write. What nobody may ask for any more, ``evict`` has deleted. Thread-safe.

    Each tenant has a pool of its own; those that say so share one more, in which nobody is told of others' jobs.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def take(self, lease: Lease, kind: str, fingerprint: str) -> Have | Make | Wait:
        """Ask for a thing. One asker is told to make it; when that one is lost, the next to ask is."""
        with self._engine.begin() as connection:
            pool, prefix = lease.pool, _new_prefix(kind, fingerprint)
            row = _locked(connection, pool, fingerprint) or _put_down(connection, lease, kind, fingerprint, prefix)
            if row is None:
                return Make(prefix)
            if row.state == MADE:
                _change(connection, pool, fingerprint, used_at=later())
                return Have(row.prefix, row.seconds, _own_job(connection, row, lease.tenant))
            if row.lease_token == lease.token:
                return Make(row.prefix)
            if connection.scalar(select(_maker_lives(row))):
                return Wait(_own_job(connection, row, lease.tenant))
            mine = {"job_id": lease.job_id, "lease_token": lease.token, "prefix": prefix}
            _change(connection, pool, fingerprint, **mine, created_at=later())
            _drop(connection, row.prefix)
            return Make(prefix)

    def find(self, fingerprint: str, *, tenant: str = DEFAULT_TENANT, pool: str = DEFAULT_TENANT) -> Have | None:
        """The thing where it is there, which then counts as used now; nobody is told to make it."""
        with self._engine.begin() as connection:
            row = _locked(connection, pool, fingerprint)
            if row is None or row.state != MADE:
                return None
            _change(connection, pool, fingerprint, used_at=later())
            return Have(row.prefix, row.seconds, _own_job(connection, row, tenant))

    def made(self, lease: Lease, fingerprint: str, *, seconds: float, size: int) -> bool:
        """All files are at the prefix, ``size`` bytes. False where it is no longer the caller's: ``abandon`` it."""
        values = {"state": MADE, "seconds": seconds, "bytes": size, "used_at": later()}
        with self._engine.begin() as connection:
            mine = update(cache).where(_making(lease, fingerprint)).values(**values)
            return connection.execute(mine).rowcount == 1

    def abandon(self, lease: Lease, fingerprint: str, prefix: str) -> None:
        """The caller lives and will not make it after all; what it has written to ``prefix`` goes."""
        with self._engine.begin() as connection:
            connection.execute(delete(cache).where(_making(lease, fingerprint)))
            _drop(connection, prefix)

    def forget(self, fingerprint: str, prefix: str) -> None:
        """The files at ``prefix`` are gone or broken: the next to ask makes the thing anew, and what is left goes."""
        gone = delete(cache).where(cache.c.fingerprint == fingerprint, cache.c.prefix == prefix, cache.c.state == MADE)
        with self._engine.begin() as connection:
            if connection.execute(gone).rowcount:
                _drop(connection, prefix)

    def evict(self, max_bytes: int) -> list[str]:
        """Forget what was not used for longest until ``max_bytes`` are left, and makings whose maker is lost.

        Returns prefixes whose files the caller deletes, those that have waited for longest first: ``deleted`` says that
        they are, ``put_off`` that they cannot be. What is being made stays.
        """
        oldest = select(cache.c.prefix).where(cache.c.state == GONE).order_by(cache.c.used_at).limit(BATCH)
        with self._engine.begin() as connection:
            # A batch of each: however many makings were lost, what does not fit goes.
            rows = [*_lost_makings(connection), *_beyond(connection, max_bytes)[:BATCH]]
            if rows:
                gone = [(row.pool, row.fingerprint) for row in rows]
                connection.execute(delete(cache).where(tuple_(cache.c.pool, cache.c.fingerprint).in_(gone)))
                _drop(connection, *(row.prefix for row in rows))
            return list(connection.scalars(oldest))

    def deleted(self, prefix: str) -> None:
        """The files of one that ``evict`` returned are deleted."""
        with self._engine.begin() as connection:
            connection.execute(delete(cache).where(_named(*_gone_key(prefix))))

    def put_off(self, prefix: str) -> None:
        """The files of one that ``evict`` returned could not be deleted: it comes after the others now."""
        with self._engine.begin() as connection:
            _change(connection, *_gone_key(prefix), used_at=later())


def _new_prefix(kind: str, fingerprint: str) -> str:
    """Of one making: no two ever write to one place, and what is deleted is in nobody's hands."""
    return f"cache/{kind}/{fingerprint}/{token_hex(8)}"


def _gone_key(prefix: str) -> tuple[str, str]:
    """Of the row of what is gone: by its place, as the thing itself may be made anew meanwhile."""
    return DEFAULT_TENANT, hashlib.sha256(prefix.encode()).hexdigest()


def _drop(connection: Connection, *prefixes: str) -> None:
    """Have the files at ``prefixes`` deleted."""
    for prefix in prefixes:
        pool, fingerprint = _gone_key(prefix)
        row = {"kind": "", "state": GONE, "prefix": prefix, "job_id": "", "lease_token": ""}
        with suppress(IntegrityError), connection.begin_nested():  # it is known already
            connection.execute(
                insert(cache).values(pool=pool, fingerprint=fingerprint, **row, created_at=later(), used_at=later())
            )


def _own_job(connection: Connection, row: Row[Any], tenant: str) -> str | None:
    """The job that made, or makes, ``row``, for the eyes of ``tenant``."""
    owned = select(jobs.c.id).where(jobs.c.id == row.job_id, jobs.c.tenant == tenant)
    return row.job_id if row.pool == tenant else connection.scalar(owned)


def _locked(connection: Connection, pool: str, fingerprint: str) -> Row[Any] | None:
    return connection.execute(select(cache).where(_named(pool, fingerprint)).with_for_update()).first()


def _named(pool: str, fingerprint: str) -> ColumnElement[bool]:
    return and_(cache.c.pool == pool, cache.c.fingerprint == fingerprint)


def _put_down(connection: Connection, lease: Lease, kind: str, fingerprint: str, prefix: str) -> Row[Any] | None:
    """None where the caller is the maker now; the row of one who was faster, else."""
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
