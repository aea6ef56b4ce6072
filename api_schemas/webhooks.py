"""Webhooks as they are shown, what the messages say, and what became of each."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, Field

from api_schemas.errors import JobError
from api_schemas.event_types import EventType
from api_schemas.jobs import Job, Result, Stage, Status

#: Of a text in a message, in characters; the whole stays below the 20 kB that the standard asks for.
LONGEST_TEXT = 500
#: The type of the message that is sent on request, to try an endpoint.
TEST = "webhook.test"


class Webhook(BaseModel):
    """An endpoint without its secret."""

    id: str
    object: Literal["webhook"] = "webhook"
    job_id: str | None = Field(description="the one job that it is told of; null: all of your jobs")
    url: str = Field(description="the values in its query are left out")
    events: list[str]
    created_at: datetime
    enabled: bool
    disabled_at: datetime | None
    disabled_reason: str | None
    failing_since: datetime | None = Field(description="since when every delivery fails")
    problem: str | None = Field(description="why nothing can be sent at the moment, and what would help")


class NewWebhook(Webhook):
    """An endpoint whose secret was just made."""

    secret: str = Field(description="`whsec_…`, what messages are verified with; it is shown this once")


class WebhookSecret(BaseModel):
    """What messages to the webhooks of jobs are signed with."""

    object: Literal["webhook_secret"] = "webhook_secret"
    secret: str = Field(description="`whsec_…`; it is shown this once")


class WebhookList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Webhook]


class DeliveryState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Delivery(BaseModel):
    """One message to one endpoint."""

    id: str = Field(description="the message's `webhook-id`: the same at every attempt")
    object: Literal["delivery"] = "delivery"
    webhook_id: str
    job_id: str | None = Field(description="null: a test")
    event_number: int | None
    event_type: str
    state: DeliveryState
    attempts: int
    created_at: datetime
    next_attempt_at: datetime | None
    delivered_at: datetime | None
    last_status: int | None = Field(description="the HTTP status of the latest attempt; null: there was no answer")
    last_error: str | None


class DeliveryList(BaseModel):
    """One page, newest first."""

    object: Literal["list"] = "list"
    data: list[Delivery]
    has_more: bool
    next_cursor: str | None = Field(description="give it as `after`; null on the last page")


class Headline(BaseModel):
    """The result in numbers; the rest is in the job."""

    layers_total: int
    layers_dropped: int
    parameters_before: int
    parameters_after: int
    bytes_before: int
    bytes_after: int
    metric: str | None
    score_before: float | None
    score_after: float | None
    retention: float | None
    speedup: float | None
    verdict: str

    @classmethod
    def of(cls, result: Result) -> Headline:
        same = result.model_dump(include=set(cls.model_fields) - {"layers_dropped"})
        return cls(**{**same, "verdict": _brief(result.verdict)}, layers_dropped=len(result.layers_dropped))


class JobNotice(BaseModel):
    """A job as a message tells it, as it was at the event. Nothing of its request."""

    id: str
    object: Literal["job"] = "job"
    event: int = Field(description="the event's number: messages may come in another order")
    status: Status
    stage: Stage | None
    status_reason: str | None
    attempt: int
    progress: float = Field(description="0 to 1")
    result: Headline | None
    error: JobError | None
    urls: dict[str, str]

    @classmethod
    def of(cls, job: Job, event: int) -> JobNotice:
        return cls(
            id=job.id,
            event=event,
            status=job.status,
            stage=job.stage,
            status_reason=job.status_reason and _brief(job.status_reason),
            attempt=job.attempt,
            progress=job.progress.fraction,
            result=job.result and Headline.of(job.result),
            error=job.error and job.error.model_copy(update={"message": _brief(job.error.message)}),
            urls={"self": f"/v1/jobs/{job.id}", "events": f"/v1/jobs/{job.id}/events"},
        )


class JobMessage(BaseModel):
    """What is sent for an event of a job."""

    type: EventType
    timestamp: datetime
    data: JobNotice


class Tried(BaseModel):
    id: str
    object: Literal["webhook"] = "webhook"


class TestMessage(BaseModel):
    """What `POST /v1/webhooks/{id}/test` sends."""

    __test__ = False  # to pytest, by its name

    type: Literal["webhook.test"] = "webhook.test"
    timestamp: datetime
    data: Tried


def _brief(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"
