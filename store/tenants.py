"""Tenants: who owns jobs, keys and cached things, and how much each may use."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any

from sqlalchemy import Connection, Engine, Row, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from api_schemas.errors import LayercutError
from api_schemas.jobs import Status
from api_schemas.tenants import Quotas, TenantInfo, TenantUsage
from store.audit import Actor, note
from store.columns import later
from store.database import reading
from store.rows import ACTIVE
from store.tables import jobs, tenants
from store.upload_tables import uploads

#: The pool of the cache that is common to all who share; no tenant can be called so.
SHARED_POOL = "+shared"

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")

#: In seconds: when to ask again about what only passes as jobs run, and about what a person has to change.
SOON, LATER = 60, 3600


class QuotaExceeded(LayercutError):
    """Carries when to ask again, in seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__("quota_exceeded", message)
        self.headers = {"Retry-After": str(retry_after)}


class TenantStore:
    """Unknown tenants raise ``LayercutError("not_found")`` with the near ones."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(self, tenant: str, name: str, quotas: Quotas, *, shared_baselines: bool = False) -> TenantInfo:
        """Raises ``validation_failed`` for an id that is taken or cannot be one."""
        if _ID.fullmatch(tenant) is None:
            raise LayercutError(
                "validation_failed",
                f"{tenant[:80]!r} cannot be a tenant's id: 1 to 63 lower case letters, digits and -, as in team-a",
            )
        row = {"id": tenant, "name": name, "shared_baselines": shared_baselines, **quotas.model_dump()}
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(tenants).values(created_at=later(), **row))
                note(connection, Actor(tenant), "tenant.create", tenant)
        except IntegrityError:
            raise LayercutError("validation_failed", f"there is a tenant {tenant!r} already") from None
        return self.get(tenant)

    def get(self, tenant: str) -> TenantInfo:
        with reading(self._engine) as connection:
            return as_tenant(existing(connection, tenant))

    def list(self) -> list[TenantInfo]:
        with reading(self._engine) as connection:
            return [as_tenant(row) for row in connection.execute(select(tenants).order_by(tenants.c.id))]

    def change(self, tenant: str, **values: Any) -> TenantInfo:
        """``values`` by column: a quota, ``name`` or ``shared_baselines``. A quota that is None is none."""
        with self._engine.begin() as connection:
            existing(connection, tenant)
            if values:
                connection.execute(update(tenants).where(tenants.c.id == tenant).values(**values))
                note(
                    connection, Actor(tenant), "tenant.change", tenant, ", ".join(f"{k}={v}" for k, v in values.items())
                )
            return as_tenant(existing(connection, tenant))

    def usage(self, tenant: str) -> TenantUsage:
        with reading(self._engine) as connection:
            return usage(connection, tenant)


def usage(connection: Connection, tenant: str) -> TenantUsage:
    def how_many(*statuses: Status) -> int:
        query = select(func.count()).select_from(jobs).where(jobs.c.status.in_(statuses), jobs.c.tenant == tenant)
        return connection.scalar(query) or 0

    made = connection.scalar(select(func.sum(jobs.c.bytes)).where(jobs.c.tenant == tenant)) or 0
    there = (uploads.c.tenant == tenant, uploads.c.gone_at.is_(None))
    sent = connection.scalar(select(func.sum(uploads.c.bytes)).where(*there)) or 0
    return TenantUsage(
        queued_jobs=how_many(Status.QUEUED),
        running_jobs=how_many(*ACTIVE),
        artifact_bytes=int(made + sent),
        uploads_bytes=int(sent),
    )


def check_room(connection: Connection, tenant: str) -> None:
    """Raise ``QuotaExceeded`` where the tenant may queue no other job. Holds the tenant until the transaction ends,
    so that two jobs that come at once do not both take the last place.
    """
    limited = or_(tenants.c.queued_jobs.is_not(None), tenants.c.artifact_bytes.is_not(None))
    _check_row(
        connection, connection.execute(select(tenants).where(tenants.c.id == tenant, limited).with_for_update()).first()
    )


def has_room(connection: Connection, tenant: str) -> bool:
    """Whether ``check_room`` would be passed now; holds nothing."""
    try:
        _check_row(connection, connection.execute(select(tenants).where(tenants.c.id == tenant)).first())
    except QuotaExceeded:
        return False
    return True


def _check_row(connection: Connection, row: Row[Any] | None) -> None:
    if row is None or (row.queued_jobs is None and row.artifact_bytes is None):
        return
    used = usage(connection, row.id)
    if row.queued_jobs is not None and used.queued_jobs >= row.queued_jobs:
        raise QuotaExceeded(
            f"{used.queued_jobs} jobs are queued, and the quota queued_jobs is {row.queued_jobs}: ask again when one"
            " has started, or cancel one",
            SOON,
        )
    if row.artifact_bytes is not None and used.artifact_bytes >= row.artifact_bytes:
        raise QuotaExceeded(
            f"the files of your jobs and uploads take {used.artifact_bytes} bytes, and the quota artifact_bytes is"
            f" {row.artifact_bytes}: ask who runs this service for more",
            LATER,
        )


def check_upload_room(connection: Connection, tenant: str, more: int) -> None:
    """Raise ``QuotaExceeded`` where the tenant may not store ``more`` bytes. Holds the tenant, as ``check_room``."""
    mine = (tenants.c.id == tenant, tenants.c.artifact_bytes.is_not(None))
    row = connection.execute(select(tenants).where(*mine).with_for_update()).first()
    if row is None:
        return
    taken = usage(connection, tenant).artifact_bytes
    if taken + more > row.artifact_bytes:
        raise QuotaExceeded(
            f"the files of your jobs and uploads take {taken} bytes, these would take {more} more, and the quota"
            f" artifact_bytes is {row.artifact_bytes}: delete uploads that nobody needs, or ask who runs this service"
            " for more",
            LATER,
        )


def upload_room(connection: Connection, tenant: str, counted: int) -> int | None:
    """Bytes that the tenant may store of an upload of which ``counted`` are counted already; None where any."""
    most = connection.scalar(select(tenants.c.artifact_bytes).where(tenants.c.id == tenant))
    return None if most is None else max(0, int(most) - usage(connection, tenant).artifact_bytes + counted)


def existing(connection: Connection, tenant: str) -> Row[Any]:
    """The tenant's row; raises ``not_found`` with the near ids."""
    row = connection.execute(select(tenants).where(tenants.c.id == tenant)).first()
    if row is None:
        known = list(connection.scalars(select(tenants.c.id).order_by(tenants.c.id)))
        near = get_close_matches(tenant, known, n=3, cutoff=0.6) or known[:10]
        raise LayercutError(
            "not_found",
            f"there is no tenant {tenant[:80]!r}; known: {', '.join(near)}. Make it: layercut tenants create ID",
        )
    return row


def as_tenant(row: Row[Any]) -> TenantInfo:
    quotas = Quotas(**{name: getattr(row, name) for name in Quotas.model_fields})
    return TenantInfo(
        id=row.id, name=row.name, created_at=row.created_at, quotas=quotas, shared_baselines=row.shared_baselines
    )


def pool_of(tenant: str, shared: bool | None) -> str:
    """Which part of the cache the tenant reads and writes."""
    return SHARED_POOL if shared else tenant
