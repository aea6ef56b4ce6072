"""How many jobs, workers and deliveries there are, by what they are: for metrics, in few queries."""

from __future__ import annotations

from collections import Counter
from typing import Any, get_args

from sqlalchemy import Connection, Engine, Row, func, select

from api_schemas.errors import ERRORS
from api_schemas.jobs import Status
from api_schemas.workers import Activity, activity
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
        oldest = func.min(jobs.c.queued_at).label("oldest")
        by_status = select(jobs.c.status, func.count().label("jobs"), oldest, later().label("now"))
        rows = connection.execute(by_status.group_by(jobs.c.status)).all()
        counted = Counter({Status(row.status): int(row.jobs) for row in rows})
        return {
            "jobs": {status.value: counted[status] for status in Status},
            "running": sum(count for status, count in counted.items() if status.active),
            "queued": counted[Status.QUEUED],
            "queue_oldest_seconds": max([_age(row) for row in rows if row.status == Status.QUEUED], default=0.0),
            "failed_of_a_day": _failed(connection),
            "workers": _workers(connection),
            "deliveries_due": connection.scalar(select(func.count(deliveries.c.due_at))) or 0,
        }


def _age(row: Row[Any]) -> float:
    # An older gateway that still runs beside says no time.
    return max(0.0, float((row.now - row.oldest).total_seconds())) if row.oldest else 0.0


def _failed(connection: Connection) -> dict[str, int]:
    code = jobs.c.error["code"].as_string()
    lately = (jobs.c.status == Status.FAILED, jobs.c.finished_at > later(-DAY_SECONDS))
    counted: Counter[str] = Counter()
    for found, count in connection.execute(select(code, func.count()).where(*lately).group_by(code)):
        # A runner's word, which may be anything, is no label.
        counted[found if found in ERRORS else "other"] += count
    return dict(counted)


def _workers(connection: Connection) -> dict[str, int]:
    query = select(workers.c.job_id, workers.c.paused_reason).where(seen_within(LIVING_SECONDS))
    counted = Counter(activity(row.job_id, row.paused_reason) for row in connection.execute(query))
    return {state: counted[state] for state in get_args(Activity)}
