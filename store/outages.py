"""How long an error that passes may keep one job: long enough for whatever it was to be mended, and not for ever."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

from sqlalchemy import Connection, func, select

from api_schemas.events import AttemptLostData, EventType
from store.columns import later
from store.tables import events

#: An outage of a night fails no job, nor does a key that is renewed in the morning; what is refused for good ends one
#: within a day.
LONGEST = timedelta(hours=16)
#: Between two hand-backs, what is beyond this was not spent waiting: the job ran, or waited for a worker.
LONGEST_BETWEEN = timedelta(hours=1)


def kept_by(connection: Connection, job_id: str, code: str) -> timedelta:
    """For how long the error of that ``code`` has kept the job by now, since it was last asked for."""
    asked = select(func.max(events.c.number)).where(events.c.job_id == job_id, events.c.type == EventType.QUEUED)
    lost = (
        select(events.c.created_at, events.c.data)
        .where(
            events.c.job_id == job_id,
            events.c.type == EventType.ATTEMPT_LOST,
            events.c.number > asked.scalar_subquery(),
        )
        .order_by(events.c.number)
    )
    met = [(row.created_at, AttemptLostData.model_validate(row.data).error) for row in connection.execute(lost)]
    moments = [at for at, error in met if error is not None and error.code == code]
    moments.append(connection.execute(select(later())).scalar_one())
    return sum((min(after - before, LONGEST_BETWEEN) for before, after in pairwise(moments)), timedelta())
