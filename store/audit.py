"""The audit log: lines are added, shown and, when they are old, deleted; none is ever changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert, select

from api_schemas.tenants import AuditLine
from store.columns import later
from store.database import reading
from store.tables import DEFAULT_TENANT, audit

LONGEST = 200


@dataclass(frozen=True)
class Actor:
    """On whose behalf something is done, and where the request came from. Without a key: the command line."""

    tenant: str = DEFAULT_TENANT
    key_id: str | None = None
    request_id: str | None = None
    address: str | None = None
    #: W3C, of the request.
    traceparent: str | None = None


def note(connection: Connection, actor: Actor, action: str, target: str | None, outcome: str = "done") -> None:
    """Add a line, in the transaction of what it tells."""
    row = {"tenant": actor.tenant, "key_id": actor.key_id, "request_id": actor.request_id, "address": actor.address}
    connection.execute(insert(audit).values(at=later(), action=action, target=target, outcome=outcome, **row))


@dataclass(frozen=True)
class Refused:
    """Refused authentications that are alike. ``key_id`` is set where the shown part is of a key that exists."""

    tenant: str | None
    key_id: str | None
    address: str


class AuditLog:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def refused(self, counts: dict[Refused, int]) -> None:
        """One line for all that are alike."""
        lines = [
            {
                "tenant": who.tenant, "key_id": who.key_id, "address": who.address[:LONGEST],
                "action": "authenticate", "outcome": f"refused, {count} times",
            }
            for who, count in counts.items()
        ]  # fmt: skip
        if lines:
            with self._engine.begin() as connection:
                connection.execute(insert(audit).values(at=later()), lines)

    def page(self, tenant: str | None, before: int | None = None, limit: int = 100) -> tuple[list[AuditLine], bool]:
        """Newest first, of one tenant or of all, and whether there are older ones."""
        query = select(audit).order_by(audit.c.number.desc()).limit(limit + 1)
        query = query if tenant is None else query.where(audit.c.tenant == tenant)
        query = query if before is None else query.where(audit.c.number < before)
        with reading(self._engine) as connection:
            lines = [AuditLine(**row._mapping) for row in connection.execute(query)]
        return lines[:limit], len(lines) > limit

    def trim(self, days: float) -> None:
        """Delete what is older than that."""
        old: Any = delete(audit).where(audit.c.at < later(-days * 24 * 3600))
        with self._engine.begin() as connection:
            connection.execute(old)
