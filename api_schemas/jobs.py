"""A job as it is shown, and the one table of what may follow what."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, Field

from api_schemas.errors import JobError
from api_schemas.reports import Outcome
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
        return not TRANSITIONS[self]

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
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
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
    started_at: datetime | None = Field(description="start of the latest attempt")
    finished_at: datetime | None
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


class JobPreview(BaseModel):
    """What a job would be: the answer to ``POST /v1/jobs?validate_only=true``. Nothing was stored, so it has no id."""

    id: None = None
    object: Literal["job"] = "job"
    status: None = None
    model: str
    task: str
    priority: int
    request: dict[str, Any] = Field(description="as sent: a `JobRequest`")
    resolved: ResolvedRequest = Field(description="every default filled in, and the plan where the model could be read")
    metadata: dict[str, str]


class JobList(BaseModel):
    """One page, newest first. The next page is asked for with ``after=<the last id>``."""

    object: Literal["list"] = "list"
    data: list[Job]
    has_more: bool
    next_cursor: str | None = Field(description="give it as `after`; null on the last page")


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
