"""How many jobs, workers and deliveries there are, by what they are: for metrics, in few queries."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import Connection, Engine, Row, func, select

from api_schemas.jobs import Status
from api_schemas.workers import activity
from store.columns import later
from store.database import reading
from store.tables import deliveries, jobs, workers
from store.workers import LIVING_SECONDS, seen_within

DAY_SECONDS = 86_400.0

#: What ``count_all`` answers, by the names of ``telemetry.gateway_metrics.Census``.
Counts = dict[str, Any]


def count_all(engine: Engine) -> Counts:
    """What there is now. Of failed jobs those of the last day, so that it costs no more when there are many."""
    with reading(engine) as connection:
        # The queue's index has all that this reads.
        by_status = select(jobs.c.status, func.count(), func.min(jobs.c.queued_at), later().label("now"))
        rows = connection.execute(by_status.group_by(jobs.c.status)).all()
        found = {row[0]: row for row in rows}
        return {
            "jobs": {status.value: found[status][1] if status in found else 0 for status in Status},
            "running": sum(row[1] for row in rows if Status(row[0]).active),
            "queued": found[Status.QUEUED][1] if Status.QUEUED in found else 0,
            "queue_oldest_seconds": _age(found.get(Status.QUEUED)),
            "failed_of_a_day": _failed(connection),
            "workers": _workers(connection),
            "deliveries_due": connection.scalar(select(func.count(deliveries.c.due_at))) or 0,
        }


def _age(queued: Row[Any] | None) -> float:
    if queued is None or queued[2] is None:
        return 0.0
    return max(0.0, float((queued[3] - queued[2]).total_seconds()))


def _failed(connection: Connection) -> dict[str, int]:
    code = jobs.c.error["code"].as_string()
    lately = (jobs.c.status == Status.FAILED, jobs.c.finished_at > later(-DAY_SECONDS))
    query = select(code, func.count()).where(*lately).group_by(code)
    return {row[0] or "internal": row[1] for row in connection.execute(query)}


def _workers(connection: Connection) -> dict[str, int]:
    query = select(workers.c.job_id, workers.c.paused_reason).where(seen_within(LIVING_SECONDS))
    counted = Counter(activity(row.job_id, row.paused_reason) for row in connection.execute(query))
    return {"idle": 0, "busy": 0, "paused": 0, "draining": 0, **counted}
