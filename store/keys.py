"""API keys: ``lc_<8 characters, shown>_<43 characters, secret>``. Of the secret a hash is kept."""

from __future__ import annotations

import re
import secrets
import string
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, and_, case, func, insert, or_, select, update

from api_schemas.errors import LayercutError
from api_schemas.tenants import ApiKey, NewApiKey, Quotas, Scope
from store.audit import Actor, note
from store.columns import later
from store.database import reading
from store.secret_hash import hashed, matches, of_nobody
from store.tables import DEFAULT_TENANT, api_keys, tenants
from store.tenants import QuotaExceeded, as_tenant, existing, pool_of

#: What every key begins with.
PREFIX = "lc_"

_ALPHABET = string.digits + string.ascii_letters
# 43 digits of base 62 are 256 bits.
_SHOWN, _SECRET = 8, 43
_KEY = re.compile(rf"({PREFIX}[0-9A-Za-z]{{{_SHOWN}}})_([0-9A-Za-z]{{{_SECRET}}})")

DAY = 24 * 3600
#: Keys of one tenant that are valid at once.
MOST_KEYS = 200


@dataclass(frozen=True)
class Holder:
    """Whose a valid key is, and what it may do. ``pool`` is the part of the cache that the tenant reads."""

    tenant: str
    scope: Scope
    key_id: str | None
    quotas: Quotas
    pool: str


#: Where no key is asked for: all is the default tenant's, and open.
ANYONE = Holder(DEFAULT_TENANT, Scope.ADMIN, None, Quotas(), DEFAULT_TENANT)


@dataclass(frozen=True)
class Rejected:
    """``holder`` is set where the shown part is of a key that exists; for the audit log, never for the answer."""

    holder: Holder | None = None


class KeyStore:
    """Unknown keys, and those of other tenants, raise ``LayercutError("key_not_found")``. What changes something raises
    ``unauthorized`` where the key that it is done with is valid no more.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def verify(self, key: str) -> Holder | Rejected:
        """Whose ``key`` is. A missing (empty), unknown, wrong, expired and revoked one take equally long."""
        found = _KEY.fullmatch(key)
        shown, secret = found.groups() if found else ("", key)
        with reading(self._engine) as connection:
            row = _valid_row(connection, shown)
        right = matches(secret, row.hash if row is not None else of_nobody())
        if row is None:
            return Rejected()
        return _holder(row) if right and row.valid else Rejected(_holder(row))

    def recheck(self, holder: Holder) -> Holder | None:
        """What became of a key that was verified earlier: None where it has expired or was revoked."""
        return self.anyone() if holder.key_id is None else self.valid(holder.key_id)

    def valid(self, key_id: str) -> Holder | None:
        """Whose the key of that id is, which notes that it is used; None where it has expired, was revoked or is none.

        For those who have shown the key itself before.
        """
        with self._engine.begin() as connection:
            row = _valid_row(connection, key_id)
            if row is None or not row.valid:
                return None
            unused = or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < later(-60))
            mark = update(api_keys).where(api_keys.c.id == key_id, unused).values(last_used_at=later())
            connection.execute(mark)
            return _holder(row)

    def anyone(self) -> Holder:
        """Who acts without a key, where none is needed, with the default tenant's quotas."""
        with reading(self._engine) as connection:
            row = existing(connection, DEFAULT_TENANT)
        pool = pool_of(DEFAULT_TENANT, row.shared_baselines)
        return Holder(DEFAULT_TENANT, Scope.ADMIN, None, as_tenant(row).quotas, pool)

    def any_valid(self) -> bool:
        """Whether anybody can be let in."""
        with reading(self._engine) as connection:
            return connection.execute(select(api_keys.c.id).where(_valid()).limit(1)).first() is not None

    def create(
        self, tenant: str, name: str, scope: Scope, *, expires_in_days: float | None = None, by: Actor
    ) -> NewApiKey:
        """Raises ``not_found`` for an unknown tenant, and ``quota_exceeded`` where it has ``MOST_KEYS``."""
        with self._engine.begin() as connection:
            check_actor(connection, by)
            existing(connection, tenant)
            made = _put_down(connection, tenant, name, scope, expires_in_days)
            note(connection, by, "key.create", made.id, f"scope {scope}")
            return made

    def list(self, tenant: str | None = None) -> list[ApiKey]:
        """Of one tenant or of all, newest first."""
        query = select(api_keys).order_by(api_keys.c.created_at.desc(), api_keys.c.id).limit(1000)
        query = query if tenant is None else query.where(api_keys.c.tenant == tenant)
        with reading(self._engine) as connection:
            return [_shown(row) for row in connection.execute(query)]

    def get(self, key_id: str) -> ApiKey:
        with reading(self._engine) as connection:
            return _shown(_own(connection, key_id, None))

    def revoke(self, key_id: str, *, tenant: str | None = None, by: Actor) -> ApiKey:
        """The second time nothing happens."""
        with self._engine.begin() as connection:
            check_actor(connection, by, key_id)
            row = _own(connection, key_id, tenant)
            if row.revoked_at is None:
                connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(revoked_at=later()))
                note(connection, by, "key.revoke", key_id)
            return _shown(_own(connection, key_id, tenant))

    def rotate(self, key_id: str, *, grace_seconds: float = 0.0, tenant: str | None = None, by: Actor) -> NewApiKey:
        """A new key in the place of a valid one, which ends ``grace_seconds`` from now.

        The new one is valid for as long as the old one was to be in all.
        """
        with self._engine.begin() as connection:
            check_actor(connection, by, key_id)
            row = _own(connection, key_id, tenant)
            if not row.valid:
                raise LayercutError("forbidden", f"the key {key_id} has expired or was revoked: make a new one")
            days = None if row.expires_at is None else (row.expires_at - row.created_at).total_seconds() / DAY
            made = _put_down(connection, row.tenant, row.name, Scope(row.scope), days)
            end: Any = later(grace_seconds)
            if row.expires_at is not None:
                end = case((api_keys.c.expires_at < end, api_keys.c.expires_at), else_=end)
            connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(expires_at=end))
            note(connection, by, "key.rotate", key_id, f"the new one is {made.id}")
            return made


def _put_down(connection: Connection, tenant: str, name: str, scope: Scope, days: float | None) -> NewApiKey:
    count = select(func.count()).select_from(api_keys).where(api_keys.c.tenant == tenant, _valid())
    if (connection.scalar(count) or 0) >= MOST_KEYS:
        raise QuotaExceeded(f"{tenant} has {MOST_KEYS} valid keys: revoke those that nobody uses", DAY)
    key_id, secret = f"{PREFIX}{_random(_SHOWN)}", _random(_SECRET)
    row = {"id": key_id, "tenant": tenant, "name": name, "hash": hashed(secret), "scope": scope}
    expires: Any = None if days is None else later(days * DAY)
    made = insert(api_keys).values(**row, created_at=later(), expires_at=expires).returning(*api_keys.c)
    return NewApiKey(**_shown(connection.execute(made).one()).model_dump(), key=f"{key_id}_{secret}")


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def check_actor(connection: Connection, by: Actor, *changed: str) -> None:
    """That whoever acts may still do so, whatever a gateway remembers: a key that was revoked must leave no successor.

    Its row and those that are ``changed`` are this transaction's until it ends; in one order, so that two never wait
    for each other.
    """
    ids = {by.key_id, *changed} - {None}
    held = select(api_keys.c.id, case((_valid(), 1), else_=0).label("valid")).where(api_keys.c.id.in_(ids))
    valid = {row.id for row in connection.execute(held.order_by(api_keys.c.id).with_for_update()) if row.valid}
    if by.key_id is not None and by.key_id not in valid:
        raise LayercutError("unauthorized", "the key of this request has expired or was revoked")


def _valid() -> ColumnElement[bool]:
    return and_(api_keys.c.revoked_at.is_(None), or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > later()))


def _valid_row(connection: Connection, key_id: str) -> Row[Any] | None:
    """The key with its tenant's columns, and whether it is ``valid`` now."""
    of_tenant = [column for column in tenants.c if column.name not in ("id", "name", "created_at")]
    query = select(api_keys, *of_tenant, case((_valid(), 1), else_=0).label("valid"))
    query = query.join(tenants, tenants.c.id == api_keys.c.tenant).where(api_keys.c.id == key_id)
    return connection.execute(query).first()


def _own(connection: Connection, key_id: str, tenant: str | None) -> Row[Any]:
    row = _valid_row(connection, key_id)
    if row is None or tenant not in (None, row.tenant):
        raise LayercutError("key_not_found", f"there is no key {key_id[:80]!r}")
    return row


def _holder(row: Row[Any]) -> Holder:
    quotas = Quotas(**{name: getattr(row, name) for name in Quotas.model_fields})
    return Holder(row.tenant, Scope(row.scope), row.id, quotas, pool_of(row.tenant, row.shared_baselines))


def _shown(row: Row[Any]) -> ApiKey:
    names = ("id", "tenant", "name", "scope", "created_at", "expires_at", "revoked_at", "last_used_at")
    return ApiKey(**{name: getattr(row, name) for name in names})
