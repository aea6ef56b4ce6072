"""The names of what may happen to a job."""

from __future__ import annotations

from enum import StrEnum


class EventType(StrEnum):
    QUEUED = "job.queued"
    STARTED = "job.started"
    STAGE = "job.stage"
    RESOLVED = "job.resolved"
    PROGRESS = "job.progress"
    METRIC = "job.metric"
    LOG = "job.log"
    ATTEMPT_LOST = "job.attempt_lost"
    PUSHED = "job.pushed"
    PUSH_FAILED = "job.push_failed"
    CANCELLING = "job.cancelling"
    SUCCEEDED = "job.succeeded"
    FAILED = "job.failed"
    CANCELLED = "job.cancelled"

    @property
    def terminal(self) -> bool:
        return self in (EventType.SUCCEEDED, EventType.FAILED, EventType.CANCELLED)
