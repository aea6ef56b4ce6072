"""The outbox: messages are put into it in the transaction of the event that they tell, so that none is lost and none
tells what did not happen.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Connection, Row, exists, insert, or_, select

from api_schemas.event_types import EventType
from api_schemas.jobs import Job
from api_schemas.webhook_requests import EVERY
from api_schemas.webhooks import DeliveryState, JobMessage, JobNotice
from store.columns import later
from store.ids import new_id
from store.tables import deliveries, jobs, webhooks


def has_listeners(job_id: BindParameter[str]) -> ColumnElement[bool]:
    """Whether anybody may be told of the job, for the RETURNING of a statement: looks into two indexes."""
    # No column of the statement's own table: on SQLite, SQLAlchemy writes columns in a RETURNING without their table.
    own = jobs.alias()
    tenant = select(own.c.tenant).where(own.c.id == job_id).scalar_subquery()
    enabled = webhooks.c.disabled_at.is_(None)
    return or_(
        exists(select(webhooks.c.id).where(webhooks.c.tenant == tenant, webhooks.c.job_id.is_(None), enabled)),
        exists(select(webhooks.c.id).where(webhooks.c.job_id == job_id, enabled)),
    )


def listeners(connection: Connection, job_id: str, kind: EventType) -> list[Row[Any]]:
    """The endpoints that are told of such an event of the job; none is deleted before the transaction ends."""
    mine = or_(webhooks.c.job_id.is_(None), webhooks.c.job_id == job_id)
    query = select(webhooks).join(jobs, jobs.c.tenant == webhooks.c.tenant)
    query = query.where(jobs.c.id == job_id, mine, webhooks.c.disabled_at.is_(None))
    # As their messages' foreign key does, but before it can fail.
    rows = connection.execute(query.with_for_update(read=True, key_share=True, of=webhooks)).all()
    return [row for row in rows if {kind, EVERY} & set(row.events)]


def announce(connection: Connection, told: list[Row[Any]], job: Job, event: Row[Any]) -> None:
    """Put a message in for each of ``told``; ``event`` is a row of ``events``, ``job`` as it is after it."""
    message = JobMessage(type=event.type, timestamp=event.created_at, data=JobNotice.of(job, event.number))
    fact = {
        "job_id": job.id, "event_number": event.number, "event_type": event.type, "body": message.model_dump_json(),
        "state": DeliveryState.PENDING, "attempts": 0,
    }  # fmt: skip
    rows = [{"id": new_id("msg"), "webhook_id": row.id, "tenant": row.tenant, **fact} for row in told]
    connection.execute(insert(deliveries).values(created_at=later(), due_at=later()), rows)
