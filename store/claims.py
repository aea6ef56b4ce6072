"""Which job is claimed next: the best of the tenant whose turn it is, within the tenant's quota."""

from __future__ import annotations

import secrets
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, exists, func, or_, select, true

from api_schemas.jobs import Status
from store.columns import later
from store.rows import ACTIVE, QUEUE_ORDER, claimable, moving
from store.tables import DEFAULT_TENANT, jobs, tenants


def take_within_quota(connection: Connection, worker: str, lease_seconds: float, only_default: bool) -> Row[Any] | None:
    """What ``_take`` takes; where another worker took the tenant's last place at the same moment, the next."""
    while True:
        with connection.begin_nested() as step:
            row = _take(connection, worker, lease_seconds, only_default=only_default)
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


def _take(connection: Connection, worker: str, lease_seconds: float, *, only_default: bool) -> Row[Any] | None:
    mine = jobs.c.tenant == DEFAULT_TENANT if only_default else true()
    waiting = and_(claimable(), jobs.c.queue_expires_at > later(), mine)
    for best in (_of_next_tenant(waiting), _of_any_tenant(waiting)):
        # `=` and not IN: PostgreSQL may run the subquery of an IN once a row, and so lock and take more than one job.
        take = moving(Status.QUEUED, Status.RUNNING).where(jobs.c.id == best.scalar_subquery())
        lease = {"worker": worker, "lease_token": secrets.token_hex(8), "lease_expires_at": later(lease_seconds)}
        row = connection.execute(take.values(**lease).returning(*jobs.c)).first()
        if row is not None:
            return row
    return None


def _of_next_tenant(waiting: ColumnElement[bool]) -> Select[Any]:
    """The best job of the tenant whose turn it is. Costs as much as there are tenants, however long the queue is."""
    running = jobs.alias()
    count = (
        select(func.count())
        .where(running.c.tenant == tenants.c.id, running.c.status.in_(ACTIVE))
        .correlate(tenants)
        .scalar_subquery()
    )
    has_any = exists(select(jobs.c.id).where(jobs.c.tenant == tenants.c.id, waiting).correlate(tenants))
    turn = (
        select(tenants.c.id)
        .where(has_any, or_(tenants.c.running_jobs.is_(None), count < tenants.c.running_jobs))
        .order_by(count, tenants.c.claimed_at.asc().nulls_first(), tenants.c.id)
        .limit(1)
        .correlate(None)
        .scalar_subquery()
    )
    best = select(jobs.c.id).where(waiting, jobs.c.tenant == turn).order_by(*QUEUE_ORDER)
    return best.limit(1).with_for_update(skip_locked=True)


def _of_any_tenant(waiting: ColumnElement[bool]) -> Select[Any]:
    """The same where other workers have all that this tenant has in their hands: it looks at the whole queue."""
    running = (
        select(jobs.c.tenant, func.count().label("count"))
        .where(jobs.c.status.in_(ACTIVE))
        .group_by(jobs.c.tenant)
        .cte("running")
    )
    count = func.coalesce(running.c.count, 0)
    queue = jobs.outerjoin(running, running.c.tenant == jobs.c.tenant).outerjoin(tenants, tenants.c.id == jobs.c.tenant)
    may_run = or_(tenants.c.running_jobs.is_(None), count < tenants.c.running_jobs)
    best = select(jobs.c.id).select_from(queue).where(waiting, may_run)
    best = best.order_by(count, tenants.c.claimed_at.asc().nulls_first(), *QUEUE_ORDER)
    return best.limit(1).with_for_update(skip_locked=True, of=jobs)
