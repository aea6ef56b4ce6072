"""A job as it is shown, and the one table of what may follow what."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from api_schemas.errors import JobError
from api_schemas.push import Pushed
from api_schemas.reports import Outcome
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

    fraction: float = Field(default=0.0, ge=0, le=1)
    step: int | None = Field(default=None, description="optimizer steps done in the current stage")
    total_steps: int | None = None
    epoch: float | None = None
    loss: float | None = Field(default=None, description="of a training: the mean of about the last fifty steps")
    eta_seconds: float | None = None
    queue_position: int | None = Field(default=None, description="1 is next; set while queued")


class Result(BaseModel):
    """The headline of the report."""

    layers_total: int
    layers_kept: list[int]
    layers_dropped: list[int]
    parameters_before: int
    parameters_after: int
    bytes_before: int
    bytes_after: int
    metric: str | None
    metric_of: str | None = Field(default=None, description="the label, or the mean of labels, that the metric is of")
    score_before: float | None
    score_after: float | None
    retention: float | None
    speedup: float | None
    verdict: str
    outcome: Outcome | None = Field(default=None, description="null where nothing was compared, and in older jobs")
    pushed: Pushed | None = Field(default=None, description="null: `export.push_to` was not asked for")


class Usage(BaseModel):
    wall_seconds: float | None = None
    peak_memory_bytes: int | None = None
    training_steps: int | None = None


class Job(BaseModel):
    """A customer's compression."""

    id: str
    object: Literal["job"] = "job"
    status: Status
    stage: Stage | None
    status_reason: str | None = Field(description="why the status is what it is, where that needs saying")
    attempt: int
    created_at: datetime
    queued_at: datetime | None = Field(default=None, description="since when it has its place in the queue")
    started_at: datetime | None = Field(description="start of the latest attempt")
    finished_at: datetime | None
    expires_at: datetime | None = Field(
        default=None, description="until when the files are kept; null: there are none, or they are kept for ever"
    )
    model: str
    task: str
    priority: int
    request: dict[str, Any] = Field(description="as sent: a `JobRequest`")
    resolved: ResolvedRequest | None = Field(
        description="what the job will do, does or did: every default and every auto filled in, commit and plan pinned;"
        " null only for jobs of an older layercut"
    )
    progress: Progress
    result: Result | None
    error: JobError | None
    usage: Usage | None
    worker: str | None
    metadata: dict[str, str]
    request_id: str | None = Field(default=None, description="of the request that made it")
    trace_id: str | None = Field(default=None, description="W3C, of the trace that its request belongs to, if any")
    urls: dict[str, str] = {}


class JobList(BaseModel):
    """One page, newest first. The next page is asked for with ``after=<the last id>``."""

    object: Literal["list"] = "list"
    data: list[Job]
    has_more: bool
    next_cursor: str | None = Field(description="give it as `after`; null on the last page")


JobId = Annotated[str, Field(pattern="^job_[0-9a-hjkmnp-tv-z]{24}$", max_length=28)]


Pairs = dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]]


class JobsToCancel(Request):
    """A filter: all that is given must hold, of `status` and `ids` one. At least one thing is given."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    # Bounds stand within: beside the null that a union takes, pydantic asks null for its length.
    status: Annotated[list[Literal["queued", "running"]], Field(min_length=1, max_length=10)] | SkipJsonSchema[None] = (
        None
    )
    task: Annotated[str, Field(min_length=1, max_length=4096)] | SkipJsonSchema[None] = None
    model: Annotated[str, Field(min_length=1, max_length=4096)] | SkipJsonSchema[None] = None
    metadata: Annotated[Pairs, Field(min_length=1, max_length=16)] | SkipJsonSchema[None] = None
    created_after: Moment | SkipJsonSchema[None] = None
    created_before: Moment | SkipJsonSchema[None] = None
    ids: Annotated[list[JobId], Field(min_length=1, max_length=1000)] | SkipJsonSchema[None] = None

    @model_validator(mode="after")
    def _check_given(self) -> Self:
        empty = [name for name in self.model_fields_set if getattr(self, name) is None]
        if empty or not self.model_fields_set:
            known = ", ".join(type(self).model_fields)
            raise ValueError(f"give at least one filter, and none that is null: {known}")
        return self


class JobsCancelled(BaseModel):
    """What a request to cancel many did: `matched` jobs that had not ended are changed by this call."""

    matched: int
    cancelled: int = Field(description="that waited: they have ended")
    cancelling: int = Field(description="that ran: their workers were told to stop")
    has_more: bool = Field(description="more jobs match than one call cancels: send it again")


class FileInfo(BaseModel):
    """One file of an artifact."""

    name: str
    bytes: int
    sha256: str
    media_type: str
    url: str


class FileList(BaseModel):
    object: Literal["list"] = "list"
    data: list[FileInfo]
