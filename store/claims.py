"""Which job is claimed next: of those that the worker can do, the best of the tenant whose turn it is, within the
tenant's quota.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    Row,
    Select,
    Update,
    and_,
    bindparam,
    exists,
    func,
    or_,
    select,
    true,
)

from api_schemas.formats import FORMATS, further
from api_schemas.jobs import Status
from api_schemas.requests import JobRequest
from store.columns import later
from store.rows import ACTIVE, QUEUE_ORDER, claimable, moving
from store.tables import DEFAULT_TENANT, jobs, tenants


@dataclass(frozen=True)
class Claimant:
    """Who claims. ``only_default``: jobs of the default tenant alone; ``lacking`` are the formats it does not write."""

    worker: str
    only_default: bool = False
    lacking: tuple[str, ...] = ()


def lacking(formats: Collection[str] | None) -> tuple[str, ...]:
    """What a worker does not write that writes ``formats``; None: nothing."""
    return () if formats is None else tuple(name for name in FORMATS if name not in formats)


def formats_of(request: JobRequest) -> str | None:
    """As ``jobs.formats`` has them, among commas."""
    told = ",".join(row.name for row in further(request.export.formats))
    return f",{told}," if told else None


def take_within_quota(connection: Connection, claimant: Claimant, lease_seconds: float) -> Row[Any] | None:
    """What ``_take`` takes; where another worker took the tenant's last place at the same moment, the next."""
    while True:
        with connection.begin_nested() as step:
            row = _take(connection, claimant, lease_seconds)
            if row is None or not _over_quota(connection, row.tenant):
                return row
            step.rollback()


def _over_quota(connection: Connection, tenant: str) -> bool:
    """Whether the tenant runs more than it may; who claims for a tenant with a quota does so one after the other."""
    quota = select(tenants.c.running_jobs).where(tenants.c.id == tenant, tenants.c.running_jobs.is_not(None))
    most = connection.scalar(quota.with_for_update())
    if most is None:
        return False
    count = select(func.count()).select_from(jobs).where(jobs.c.status.in_(ACTIVE), jobs.c.tenant == tenant)
    return bool((connection.scalar(count) or 0) > most)


def _take(connection: Connection, claimant: Claimant, lease_seconds: float) -> Row[Any] | None:
    lease = {"of_worker": claimant.worker, "of_token": secrets.token_hex(8), "of_seconds": lease_seconds}
    statement = _statement(connection.dialect.name, claimant.only_default, claimant.lacking)
    return connection.execute(statement, lease).first()


@cache
def _statement(dialect: str, only_default: bool, lacking: tuple[str, ...]) -> Update:
    """Takes a job. Made once: to put it together takes longer than to carry it out."""
    mine = tenants.c.id == DEFAULT_TENANT if only_default else true()
    # `=` and not IN: PostgreSQL may run the subquery of an IN once a row, and so lock and take more than one job.
    chosen = _NEXT[dialect](mine, _waiting(lacking)).scalar_subquery()
    take = moving(Status.QUEUED, Status.RUNNING).where(jobs.c.id == chosen)
    lease = {
        "worker": bindparam("of_worker", type_=jobs.c.worker.type),
        "lease_token": bindparam("of_token", type_=jobs.c.lease_token.type),
        "lease_expires_at": later(bindparam("of_seconds", type_=Float())),
    }
    return take.values(**lease).returning(*jobs.c)


def _waiting(lacking: tuple[str, ...]) -> ColumnElement[bool]:
    """Of what an older gateway queued, formats are not told; and a worker that writes all is asked nothing of them."""
    asked = func.coalesce(jobs.c.formats, "")
    able = [~asked.contains(f",{name},", autoescape=True) for name in lacking]
    return and_(claimable(), jobs.c.queue_expires_at > later(), *able)


def _by_turn(mine: ColumnElement[bool]) -> Select[Any]:
    """The tenants that may run another job, in their turn. What runs is counted once, for all."""
    running = jobs.alias("running")
    counted = select(running.c.tenant, func.count().label("count")).where(running.c.status.in_(ACTIVE))
    each = counted.group_by(running.c.tenant).subquery("each")
    count = func.coalesce(each.c.count, 0)
    found = select(tenants.c.id).outerjoin_from(tenants, each, each.c.tenant == tenants.c.id)
    found = found.where(mine, or_(tenants.c.running_jobs.is_(None), count < tenants.c.running_jobs))
    return found.order_by(count, tenants.c.claimed_at.asc().nulls_first(), tenants.c.id)


def _tenant_by_tenant(mine: ColumnElement[bool], waiting: ColumnElement[bool]) -> Select[Any]:
    """The best job of the first tenant that has one which nobody else has in hand.

    Materialized, so that the tenants are looked at in their order, and no further than the first that has a job; by a
    join with a limit of its own, so that PostgreSQL reads the queue's index and never the whole table.
    """
    turn = _by_turn(mine).cte("turn").prefix_with("MATERIALIZED")
    best = select(jobs.c.id).where(waiting, jobs.c.tenant == turn.c.id).order_by(*QUEUE_ORDER).limit(1)
    one = best.with_for_update(skip_locked=True).correlate(turn).lateral("best")
    return select(one.c.id).select_from(turn.join(one, true())).limit(1)


def _first_tenant(mine: ColumnElement[bool], waiting: ColumnElement[bool]) -> Select[Any]:
    """The same where one writes after the other, and nobody has a job in hand."""
    has_any = exists(select(jobs.c.id).where(jobs.c.tenant == tenants.c.id, waiting).correlate(tenants))
    turn = _by_turn(mine).where(has_any).limit(1).correlate(None).scalar_subquery()
    return select(jobs.c.id).where(waiting, jobs.c.tenant == turn).order_by(*QUEUE_ORDER).limit(1)


_NEXT: dict[str, Callable[[ColumnElement[bool], ColumnElement[bool]], Select[Any]]] = {
    "postgresql": _tenant_by_tenant,
    "sqlite": _first_tenant,
}
