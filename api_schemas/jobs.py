"""A job as it is shown, and the one table of what may follow what."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from api_schemas.errors import JobError
from api_schemas.push import Pushed
from api_schemas.reports import Interval, Outcome
from api_schemas.request_parts import Moment, Request
from api_schemas.resolved import ResolvedRequest


class Status(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether the job has ended. One that failed or was cancelled may be asked for again."""
        return self in (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED)

    @property
    def active(self) -> bool:
        """Whether a worker holds the job's lease."""
        return self in (Status.RUNNING, Status.CANCELLING)


TRANSITIONS: dict[Status, frozenset[Status]] = {
    # queued -> failed: waited longer than limits.max_queue_seconds, or no attempt is left
    Status.QUEUED: frozenset({Status.RUNNING, Status.CANCELLED, Status.FAILED}),
    # running -> queued: the lease was lost, or a worker that is told to stop hands the job back
    Status.RUNNING: frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLING, Status.QUEUED}),
    # cancelling -> succeeded is not here: a job that ends while it is cancelled is cancelled
    Status.CANCELLING: frozenset({Status.CANCELLED}),
    Status.SUCCEEDED: frozenset(),
    # failed, cancelled -> queued: asked for again
    Status.FAILED: frozenset({Status.QUEUED}),
    Status.CANCELLED: frozenset({Status.QUEUED}),
}


class Stage(StrEnum):
    """Where a running attempt is, in this order. A stage that is not needed is skipped and says so."""

    RESOLVING = "resolving"
    BASELINE = "baseline"
    SCORING = "scoring"
    PLANNING = "planning"
    PRUNING = "pruning"
    RECOVERING = "recovering"
    EVALUATING = "evaluating"
    BENCHMARKING = "benchmarking"
    EXPORTING = "exporting"
    VERIFYING = "verifying"
    PUBLISHING = "publishing"


class Progress(BaseModel):
    """``fraction`` never falls within an attempt; ``eta_seconds`` is measured, and null until it can be."""

    fraction: float = Field(default=0.0, ge=0, le=1, description="of the attempt, 0 to 1")
    step: int | None = Field(default=None, description="optimizer steps done in the current stage")
    total_steps: int | None = Field(default=None, description="optimizer steps of the current stage")
    epoch: float | None = Field(default=None, description="how often the training rows were seen")
    loss: float | None = Field(default=None, description="of a training: the mean of about the last fifty steps")
    eta_seconds: float | None = Field(default=None, description="until the attempt ends, as far as can be told")
    queue_position: int | None = Field(default=None, description="1 is next; set while queued")


class Result(BaseModel):
    """The headline of the report."""

    layers_total: int = Field(description="layers of the model before")
    layers_kept: list[int] = Field(description="numbers of the layers that stay, from 0 in the original model")
    layers_dropped: list[int] = Field(description="numbers of the layers that went")
    parameters_before: int = Field(description="parameters of the model before")
    parameters_after: int = Field(description="parameters of the model that is delivered")
    bytes_before: int = Field(description="bytes of the weights before")
    bytes_after: int = Field(description="bytes of the weights that are delivered")
    metric: str | None = Field(description="what the score is; null where nothing is scored")
    metric_of: str | None = Field(default=None, description="the label, or the mean of labels, that the metric is of")
    score_before: float | None = Field(description="the metric of the full model, 0 to 100; null where there is none")
    score_after: float | None = Field(
        description="the metric of the model that is delivered, 0 to 100; null where there is none"
    )
    retention: float | None = Field(description="score after / score before; null where there is no score")
    speedup: float | None = Field(
        description="latency before / latency after, at the first batch size and length; null where none was measured"
    )
    verdict: str = Field(description="what came of the comparison, in words")
    outcome: Outcome | None = Field(default=None, description="null where nothing was compared, and in older jobs")
    retention_interval: Interval | None = Field(default=None, description="as in the report; null in older jobs")
    latency_ms_before: float | None = Field(
        default=None, description="p50 of the full model, at the first batch size and length"
    )
    latency_ms_after: float | None = Field(default=None, description="the same of the model that is delivered")
    device: str | None = Field(default=None, description="what this was measured on, as the system calls it")
    pushed: Pushed | None = Field(default=None, description="null: `export.push_to` was not asked for")


class Usage(BaseModel):
    wall_seconds: float | None = Field(default=None, description="of the attempt")
    peak_memory_bytes: int | None = Field(default=None, description="at the most")
    training_steps: int | None = Field(default=None, description="optimizer steps of all its trainings")


class Job(BaseModel):
    """A customer's compression."""

    id: str = Field(description="names the job in all calls")
    object: Literal["job"] = Field(default="job", description="what kind of thing this is")
    status: Status = Field(description="where the job stands")
    stage: Stage | None = Field(description="where a running attempt is")
    status_reason: str | None = Field(description="why the status is what it is, where that needs saying")
    attempt: int = Field(description="counts the attempts, from 1; 0 while none has begun")
    created_at: datetime = Field(description="when it was made, RFC 3339 in UTC")
    queued_at: datetime | None = Field(default=None, description="since when it has its place in the queue")
    started_at: datetime | None = Field(description="start of the latest attempt")
    finished_at: datetime | None = Field(description="when it ended; null until then")
    expires_at: datetime | None = Field(
        default=None, description="until when the files are kept; null: there are none, or they are kept for ever"
    )
    model: str = Field(description="the model's id, as it was asked for")
    task: str = Field(description="the task's name, or the file's")
    priority: int = Field(description="higher goes first")
    request: dict[str, Any] = Field(description="as sent: a `JobRequest`")
    resolved: ResolvedRequest | None = Field(
        description="what the job will do, does or did: every default and every auto filled in, commit and plan pinned;"
        " null only for jobs of an older layercut"
    )
    progress: Progress = Field(description="how far it is")
    result: Result | None = Field(description="the headline of the report; null until it has succeeded")
    error: JobError | None = Field(description="why it failed")
    usage: Usage | None = Field(description="what it took")
    worker: str | None = Field(description="who has it, or had it last")
    metadata: dict[str, str] = Field(description="the pairs that it was sent with")
    study: str | None = Field(default=None, description="the study that asked for it; null: it was asked for by itself")
    request_id: str | None = Field(default=None, description="of the request that made it")
    trace_id: str | None = Field(default=None, description="W3C, of the trace that its request belongs to, if any")
    urls: dict[str, str] = Field(default={}, description="where to go on, by name")


class JobList(BaseModel):
    """One page, newest first. The next page is asked for with ``after=<the last id>``."""

    object: Literal["list"] = Field(default="list", description="what kind of thing this is")
    data: list[Job] = Field(description="the jobs, newest first")
    has_more: bool = Field(description="whether there is another page")
    next_cursor: str | None = Field(description="give it as `after`; null on the last page")


JobId = Annotated[str, Field(pattern="^job_[0-9a-hjkmnp-tv-z]{24}$", max_length=28)]


Pairs = dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]]


class JobsToCancel(Request):
    """A filter: all that is given must hold, of `status` and `ids` one. At least one thing is given."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    # Bounds stand within: beside the null that a union takes, pydantic asks null for its length.
    status: Annotated[list[Literal["queued", "running"]], Field(min_length=1, max_length=10)] | SkipJsonSchema[None] = (
        Field(default=None, description="any of these")
    )
    task: Annotated[str, Field(min_length=1, max_length=4096)] | SkipJsonSchema[None] = Field(
        default=None, description="with this task"
    )
    model: Annotated[str, Field(min_length=1, max_length=4096)] | SkipJsonSchema[None] = Field(
        default=None, description="of this model"
    )
    metadata: Annotated[Pairs, Field(min_length=1, max_length=16)] | SkipJsonSchema[None] = Field(
        default=None, description="with all of these pairs"
    )
    created_after: Moment | SkipJsonSchema[None] = Field(default=None, description="made then or later")
    created_before: Moment | SkipJsonSchema[None] = Field(default=None, description="made before then")
    ids: Annotated[list[JobId], Field(min_length=1, max_length=1000)] | SkipJsonSchema[None] = Field(
        default=None, description="any of these"
    )

    @model_validator(mode="after")
    def _check_given(self) -> Self:
        empty = [name for name in self.model_fields_set if getattr(self, name) is None]
        if empty or not self.model_fields_set:
            known = ", ".join(type(self).model_fields)
            raise ValueError(f"give at least one filter, and none that is null: {known}")
        return self


class JobsCancelled(BaseModel):
    """What a request to cancel many did: `matched` jobs that had not ended are changed by this call."""

    matched: int = Field(description="jobs that the filter found")
    cancelled: int = Field(description="that waited: they have ended")
    cancelling: int = Field(description="that ran: their workers were told to stop")
    has_more: bool = Field(description="more jobs match than one call cancels: send it again")


class FileInfo(BaseModel):
    """One file of an artifact."""

    name: str = Field(description="its path in the artifact, with slashes")
    bytes: int = Field(description="its size")
    sha256: str = Field(description="of its content, in hex")
    media_type: str = Field(description="its content type")
    url: str = Field(description="where to get it")


class FileList(BaseModel):
    object: Literal["list"] = Field(default="list", description="what kind of thing this is")
    data: list[FileInfo] = Field(description="the files of the artifact")
