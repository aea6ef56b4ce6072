"""Numbered facts about a job. The runner tells them as JSON lines; the store numbers them; watchers replay them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, Field


class EventType(StrEnum):
    QUEUED = "job.queued"
    STARTED = "job.started"
    STAGE = "job.stage"
    RESOLVED = "job.resolved"
    PROGRESS = "job.progress"
    METRIC = "job.metric"
    LOG = "job.log"
    ATTEMPT_LOST = "job.attempt_lost"
    CANCELLING = "job.cancelling"
    SUCCEEDED = "job.succeeded"
    FAILED = "job.failed"
    CANCELLED = "job.cancelled"

    @property
    def terminal(self) -> bool:
        return self in (EventType.SUCCEEDED, EventType.FAILED, EventType.CANCELLED)


Level = Literal["info", "warning", "error"]


class NewEvent(BaseModel):
    """An event before it has a number: what the runner prints, one JSON object a line.

    ``data`` by type: STAGE ``{stage, skipped}``; PROGRESS a ``Progress``; RESOLVED what was resolved; METRIC
    ``{name, value, ...}``; SUCCEEDED ``{result: Result, usage: Usage}``; FAILED ``{error: JobError}``.
    """

    type: EventType
    message: str
    level: Level = "info"
    data: dict[str, Any] = {}


class Event(NewEvent):
    object: Literal["event"] = "event"
    number: int = Field(description="1, 2, 3 … within the job, without gaps")
    job_id: str
    attempt: int
    created_at: datetime


class EventList(BaseModel):
    """One page, oldest first; the next is asked for with ``after=<the last number>``."""

    object: Literal["list"] = "list"
    data: list[Event]
    has_more: bool
