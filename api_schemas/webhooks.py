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

    id: str = Field(description="names the endpoint")
    object: Literal["webhook"] = Field(default="webhook", description="what kind of thing this is")
    job_id: str | None = Field(description="the one job that it is told of; null: all of your jobs")
    url: str = Field(description="the values in its query are left out")
    events: list[str] = Field(description="that it is told of")
    created_at: datetime = Field(description="when it was made, RFC 3339 in UTC")
    enabled: bool = Field(description="whether it is told anything")
    disabled_at: datetime | None = Field(description="since when it is told nothing")
    disabled_reason: str | None = Field(description="why")
    failing_since: datetime | None = Field(description="since when every delivery fails")
    problem: str | None = Field(description="why nothing can be sent at the moment, and what would help")


class NewWebhook(Webhook):
    """An endpoint whose secret was just made."""

    secret: str = Field(description="`whsec_…`, what messages are verified with; it is shown this once")


class WebhookSecret(BaseModel):
    """What messages to the webhooks of jobs are signed with."""

    object: Literal["webhook_secret"] = Field(default="webhook_secret", description="what kind of thing this is")
    secret: str = Field(description="`whsec_…`; it is shown this once")


class WebhookList(BaseModel):
    object: Literal["list"] = Field(default="list", description="what kind of thing this is")
    data: list[Webhook] = Field(description="the endpoints, newest first")


class DeliveryState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Delivery(BaseModel):
    """One message to one endpoint."""

    id: str = Field(description="the message's `webhook-id`: the same at every attempt")
    object: Literal["delivery"] = Field(default="delivery", description="what kind of thing this is")
    webhook_id: str = Field(description="the endpoint")
    job_id: str | None = Field(description="null: a test")
    event_number: int | None = Field(description="of the event in its job; null for a test")
    event_type: str = Field(description="what it tells")
    state: DeliveryState = Field(description="where it stands")
    attempts: int = Field(description="made so far")
    created_at: datetime = Field(description="when it was made, RFC 3339 in UTC")
    next_attempt_at: datetime | None = Field(description="when it is tried again; null: not")
    delivered_at: datetime | None = Field(description="when it arrived")
    last_status: int | None = Field(description="the HTTP status of the latest attempt; null: there was no answer")
    last_error: str | None = Field(description="why the last attempt failed")


class DeliveryList(BaseModel):
    """One page, newest first."""

    object: Literal["list"] = Field(default="list", description="what kind of thing this is")
    data: list[Delivery] = Field(description="the messages, newest first")
    has_more: bool = Field(description="whether there is another page")
    next_cursor: str | None = Field(description="give it as `after`; null on the last page")


class Headline(BaseModel):
    """The result in numbers; the rest is in the job."""

    layers_total: int = Field(description="how many there were")
    layers_dropped: int = Field(description="how many went")
    parameters_before: int = Field(description="parameters of the model before")
    parameters_after: int = Field(description="parameters of the model that is delivered")
    bytes_before: int = Field(description="bytes of the weights before")
    bytes_after: int = Field(description="bytes of the weights that are delivered")
    metric: str | None = Field(description="what the score is; null where nothing is scored")
    score_before: float | None = Field(description="the metric of the full model, 0 to 100; null where there is none")
    score_after: float | None = Field(
        description="the metric of the model that is delivered, 0 to 100; null where there is none"
    )
    retention: float | None = Field(description="score after / score before; null where there is no score")
    speedup: float | None = Field(
        description="latency before / latency after, at the first batch size and length; null where none was measured"
    )
    verdict: str = Field(description="what came of the comparison, in words")

    @classmethod
    def of(cls, result: Result) -> Headline:
        same = result.model_dump(include=set(cls.model_fields) - {"layers_dropped"})
        return cls(**{**same, "verdict": _brief(result.verdict)}, layers_dropped=len(result.layers_dropped))


class JobNotice(BaseModel):
    """A job as a message tells it, as it was at the event. Nothing of its request."""

    id: str = Field(description="the job")
    object: Literal["job"] = Field(default="job", description="what kind of thing this is")
    event: int = Field(description="the event's number: messages may come in another order")
    status: Status = Field(description="where it stood")
    stage: Stage | None = Field(description="where the attempt was")
    status_reason: str | None = Field(description="why the status is what it is")
    attempt: int = Field(description="counts the attempts, from 1; 0 while none has begun")
    progress: float = Field(description="0 to 1")
    result: Headline | None = Field(description="in numbers")
    error: JobError | None = Field(description="why it failed")
    urls: dict[str, str] = Field(description="where to go on, by name")

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

    type: EventType = Field(description="what happened")
    timestamp: datetime = Field(description="when, RFC 3339 in UTC")
    data: JobNotice = Field(description="the job as it was then")


class Tried(BaseModel):
    id: str = Field(description="the endpoint")
    object: Literal["webhook"] = Field(default="webhook", description="what kind of thing this is")


class TestMessage(BaseModel):
    """What `POST /v1/webhooks/{id}/test` sends."""

    __test__ = False  # to pytest, by its name

    type: Literal["webhook.test"] = Field(default="webhook.test", description="that it is a test")
    timestamp: datetime = Field(description="when, RFC 3339 in UTC")
    data: Tried = Field(description="what was tried")


def _brief(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"
