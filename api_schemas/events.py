"""Numbered, typed facts about a job. The runner tells them as JSON lines; the store numbers them; watchers replay them.

A new type is one member of ``EventType``, one class of data, and one line in ``NewEvent`` and in ``Event``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, Discriminator, Field, TypeAdapter

from api_schemas.errors import JobError, LayercutError
from api_schemas.event_types import EventType as EventType  # noqa: PLC0414 - events are imported with their types
from api_schemas.jobs import Progress, Result, Stage, Usage
from api_schemas.push import Pushed
from api_schemas.resolved import ResolvedRequest

Level = Literal["info", "warning", "error"]


class NoData(BaseModel):
    """The type says it all."""


class StartedData(BaseModel):
    attempt: int = Field(description="which one starts, from 1")
    worker: str = Field(description="who has the job now")


class StageData(BaseModel):
    stage: Stage = Field(description="the stage that begins")
    skipped: bool = Field(default=False, description="whether it was not needed")
    seed: int | None = Field(default=None, description="of the trainings, where a stage comes once for each")


class MetricData(BaseModel):
    name: str = Field(description="of the metric")
    value: float | None = Field(description="null where it is not defined")
    side: Literal["before", "after"] = Field(description="of the full model, or of the one that is delivered")
    of: str | None = Field(default=None, description="the label, or the mean of labels, that it is of")
    reason: str | None = Field(default=None, description="why it is not defined")


class LogData(BaseModel):
    """What a program may want to know of a message; all of it optional."""

    checkpoint: str | None = Field(default=None, description="the checkpoint that has just been written")
    training: str | None = Field(default=None, description="whose checkpoint the message is about")
    source: Literal["stderr"] | None = Field(default=None, description="where the message was heard")
    kind: str | None = Field(default=None, description="of the thing in the cache that is waited for")
    fingerprint: str | None = Field(default=None, description="of the thing of the cache that the message is about")
    job_id: str | None = Field(default=None, description="the job that is waited for")


class AttemptLostData(BaseModel):
    reason: str = Field(description="why the attempt came to nothing")
    attempts_left: int = Field(description="how many more the job has")
    error: JobError | None = Field(default=None, description="an error that nobody foresaw, and that may pass")


class ArtifactFiles(BaseModel):
    """Names under the folder that the runner was given; of no use to anyone but its supervisor."""

    folder: str = Field(description="of the files")
    archive: str | None = Field(default=None, description="name of their tar")


class SucceededData(BaseModel):
    result: Result = Field(description="the headline of the report")
    usage: Usage | None = Field(default=None, description="what it took")
    artifact: ArtifactFiles | None = Field(default=None, description="what it leaves")


class FailedData(BaseModel):
    """``artifact``: a failure may leave files all the same; an objective that was not met does."""

    error: JobError = Field(description="why")
    usage: Usage | None = Field(default=None, description="what it took until then")
    artifact: ArtifactFiles | None = Field(default=None, description="what it leaves all the same")


Type = TypeVar("Type", bound=EventType)
Data = TypeVar("Data", bound=BaseModel)


class EventBody(BaseModel, Generic[Type, Data]):
    """An event before it has a number: what the runner prints, one JSON object a line."""

    type: Type = Field(description="what happened")
    message: str = Field(description="the same for people")
    level: Level = Field(default="info", description="how much it matters")
    data: Data = Field(description="what belongs to the type")


class NumberedEvent(EventBody[Type, Data], Generic[Type, Data]):
    object: Literal["event"] = Field(default="event", description="what kind of thing this is")
    number: int = Field(description="1, 2, 3 … within the job, without gaps")
    job_id: str = Field(description="the job that it is of")
    attempt: int = Field(description="in which it happened; 0 before the first")
    created_at: datetime = Field(description="when it was made, RFC 3339 in UTC")


NewEvent = Annotated[
    EventBody[Literal[EventType.QUEUED], NoData]
    | EventBody[Literal[EventType.STARTED], StartedData]
    | EventBody[Literal[EventType.STAGE], StageData]
    | EventBody[Literal[EventType.RESOLVED], ResolvedRequest]
    | EventBody[Literal[EventType.PROGRESS], Progress]
    | EventBody[Literal[EventType.METRIC], MetricData]
    | EventBody[Literal[EventType.LOG], LogData]
    | EventBody[Literal[EventType.ATTEMPT_LOST], AttemptLostData]
    | EventBody[Literal[EventType.PUSHED], Pushed]
    | EventBody[Literal[EventType.PUSH_FAILED], Pushed]
    | EventBody[Literal[EventType.CANCELLING], NoData]
    | EventBody[Literal[EventType.SUCCEEDED], SucceededData]
    | EventBody[Literal[EventType.FAILED], FailedData]
    | EventBody[Literal[EventType.CANCELLED], NoData],
    Discriminator("type"),
]


class QueuedEvent(NumberedEvent[Literal[EventType.QUEUED], NoData]):
    """The job was accepted."""


class StartedEvent(NumberedEvent[Literal[EventType.STARTED], StartedData]):
    """A worker has begun an attempt."""


class StageEvent(NumberedEvent[Literal[EventType.STAGE], StageData]):
    """The attempt is in another stage, or passes over one."""


class ResolvedEvent(NumberedEvent[Literal[EventType.RESOLVED], ResolvedRequest]):
    """More is decided than before: the whole resolved request, as it is now."""


class ProgressEvent(NumberedEvent[Literal[EventType.PROGRESS], Progress]):
    """How far the attempt is."""


class MetricEvent(NumberedEvent[Literal[EventType.METRIC], MetricData]):
    """A score, of the model before or after."""


class LogEvent(NumberedEvent[Literal[EventType.LOG], LogData]):
    """A message for people."""


class AttemptLostEvent(NumberedEvent[Literal[EventType.ATTEMPT_LOST], AttemptLostData]):
    """The attempt came to nothing; the job is queued again."""


class PushedEvent(NumberedEvent[Literal[EventType.PUSHED], Pushed]):
    """The files are on the hub, at that commit."""


class PushFailedEvent(NumberedEvent[Literal[EventType.PUSH_FAILED], Pushed]):
    """The files are not on the hub; the job succeeds all the same."""


class CancellingEvent(NumberedEvent[Literal[EventType.CANCELLING], NoData]):
    """The worker was told to stop."""


class SucceededEvent(NumberedEvent[Literal[EventType.SUCCEEDED], SucceededData]):
    """The job has ended, with a result."""


class FailedEvent(NumberedEvent[Literal[EventType.FAILED], FailedData]):
    """The job has ended, with an error."""


class CancelledEvent(NumberedEvent[Literal[EventType.CANCELLED], NoData]):
    """The job has ended, as it was asked to."""


Event = Annotated[
    QueuedEvent
    | StartedEvent
    | StageEvent
    | ResolvedEvent
    | ProgressEvent
    | MetricEvent
    | LogEvent
    | AttemptLostEvent
    | PushedEvent
    | PushFailedEvent
    | CancellingEvent
    | SucceededEvent
    | FailedEvent
    | CancelledEvent,
    Discriminator("type"),
]

NEW_EVENT: TypeAdapter[NewEvent] = TypeAdapter(NewEvent)
EVENT: TypeAdapter[Event] = TypeAdapter(Event)


def new_event(type: EventType, message: str, data: BaseModel | None = None, level: Level = "info") -> NewEvent:
    """An event of that type; raises ``ValidationError`` where ``data`` is not of the type's class."""
    return NEW_EVENT.validate_python({"type": type, "message": message, "level": level, "data": data or NoData()})


def failure(error: LayercutError, stage: str | None = None) -> NewEvent:
    """The event of a job that ends with ``error``."""
    return new_event(EventType.FAILED, error.message, FailedData(error=JobError.of(error, stage)), "error")


def push_told(pushed: Pushed) -> NewEvent:
    """The event of a push that is over."""
    if pushed.error is None:
        return new_event(EventType.PUSHED, pushed.message, pushed)
    return new_event(EventType.PUSH_FAILED, pushed.message, pushed, "warning")


class EventList(BaseModel):
    """One page, oldest first; the next is asked for with ``after=<the last number>``."""

    object: Literal["list"] = Field(default="list", description="what kind of thing this is")
    data: list[Event] = Field(description="the events, oldest first")
    has_more: bool = Field(description="whether there is another page")
