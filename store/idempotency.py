"""POSTs that are done once: a key is reserved before the work, and its answer kept in the transaction of the work."""

from __future__ import annotations

import secrets
from collections import deque
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from api_schemas.errors import LayercutError
from store.columns import later
from store.passing import passing
from store.tables import idempotency

#: Keys that are remembered to be freed; of more, the oldest are free after ``hold_seconds``.
MOST_UNFREED = 1000


@dataclass(frozen=True)
class Reservation:
    """The right to do what the key was sent with. ``token`` fences off one that took too long, and lost it."""

    tenant: str
    key: str
    token: str


@dataclass(frozen=True)
class StoredAnswer:
    """What the first request of a key was answered with."""

    status: int
    body: dict[str, Any]


class IdempotencyStore:
    """``hours``: how long an answer is kept. ``hold_seconds``: how long nothing may be heard of the first request
    (``renew``); then another with its key may take its place. Thread-safe.
    """

    def __init__(self, engine: Engine, *, hours: float, hold_seconds: float) -> None:
        self._engine = engine
        self._hours, self._hold_seconds = hours, hold_seconds
        #: Keys whose requests are under way in this process.
        self._under_way: dict[Reservation, None] = {}
        #: Keys that the database went away for, before their requests were refused or when they were.
        self._unfreed: deque[Reservation] = deque(maxlen=MOST_UNFREED)

    def reserve(self, tenant: str, key: str, fingerprint: str) -> Reservation | StoredAnswer:
        """The key is the caller's to use, until ``over`` or ``release``; or what was answered to it before.

        Raises ``idempotency_key_reused`` where ``fingerprint`` is another, and ``request_in_progress``.
        """
        asked = Reservation(tenant, key, secrets.token_hex(16))
        found: Reservation | StoredAnswer | None = None
        try:
            with self._engine.begin() as connection:
                found = asked if _insert(connection, asked, fingerprint) else self._meet(connection, asked, fingerprint)
        except Exception:
            if found is asked:  # the commit failed: whether the key is held now is not known
                self._unfreed.append(asked)
            raise
        if found is asked:
            self._under_way[asked] = None
        return found

    def _meet(self, connection: Connection, asked: Reservation, fingerprint: str) -> Reservation | StoredAnswer:
        row = connection.execute(select(idempotency).where(_of(asked)).with_for_update()).first()
        if row is None:  # given back in this moment
            raise _in_progress()
        if self._is_over(connection, row):
            values = {"fingerprint": fingerprint, "token": asked.token, "status": None, "answer": None}
            connection.execute(update(idempotency).where(_of(asked)).values(**values, created_at=later()))
            return asked
        if row.fingerprint != fingerprint:
            raise LayercutError(
                "idempotency_key_reused",
                "the key was sent before with another method, address or body: send a new key with a new request",
                param="Idempotency-Key",
            )
        if row.status is None:
            raise _in_progress()
        return StoredAnswer(row.status, row.answer)

    def _is_over(self, connection: Connection, row: Row[Any]) -> bool:
        """Whether the row's time is over: of an answer, or of a request whose gateway died or has lost its way."""
        seconds = self._hold_seconds if row.status is None else self._hours * 3600
        now = connection.execute(select(later(-seconds))).scalar_one()
        return bool(row.created_at < now)

    def renew(self) -> None:
        """Say that the requests which are under way here still are."""
        if held := list(self._under_way):
            theirs = (idempotency.c.token.in_([one.token for one in held]), idempotency.c.status.is_(None))
            with self._engine.begin() as connection:
                connection.execute(update(idempotency).where(*theirs).values(created_at=later()))

    def over(self, held: Reservation) -> None:
        """The request is answered, and its answer kept."""
        self._under_way.pop(held, None)

    def release(self, held: Reservation, *, now: bool = True) -> None:
        """The request was refused: the key is free again. What was answered, or is another's by now, stays.

        While the database is away, or not ``now``, it waits for ``release_late``.
        """
        self.over(held)
        if not now:
            self._unfreed.append(held)
            return
        try:
            self._free(held)
        except Exception as error:
            if passing(error) is None:
                raise
            self._unfreed.append(held)

    def release_late(self) -> None:
        """Free the keys that nobody goes on with, as the database was away; raises what stands in the way."""
        while self._unfreed:
            held = self._unfreed.popleft()
            try:
                self._free(held)
            except Exception:
                self._unfreed.append(held)
                raise

    def _free(self, held: Reservation) -> None:
        with self._engine.begin() as connection:
            connection.execute(delete(idempotency).where(_held(held)))


def keep_answer(connection: Connection, held: Reservation, status: int, body: dict[str, Any]) -> None:
    """Keep the answer, in the transaction of what it tells. Raises ``request_in_progress`` where the key is another's
    by now: the transaction must come to nothing then.
    """
    kept = update(idempotency).where(_held(held)).values(status=status, answer=body)
    if connection.execute(kept).rowcount != 1:
        raise _in_progress()


def _insert(connection: Connection, asked: Reservation, fingerprint: str) -> bool:
    row = {"tenant": asked.tenant, "key": asked.key, "token": asked.token, "fingerprint": fingerprint}
    try:
        with connection.begin_nested():
            connection.execute(insert(idempotency).values(**row, created_at=later()))
    except IntegrityError:
        return False
    return True


def _of(asked: Reservation) -> ColumnElement[bool]:
    return (idempotency.c.tenant == asked.tenant) & (idempotency.c.key == asked.key)


def _held(held: Reservation) -> ColumnElement[bool]:
    return _of(held) & (idempotency.c.token == held.token) & idempotency.c.status.is_(None)


def _in_progress() -> LayercutError:
    return LayercutError(
        "request_in_progress", "a request with this key is under way: ask again in some seconds for its answer"
    )
