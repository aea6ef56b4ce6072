"""A study as it is shown: how far it is, and its table. Scores are 0 to 100, times in milliseconds, sizes in bytes."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, Field

from api_schemas.reports import Outcome
from api_schemas.studies.request import Budget


class StudyStatus(StrEnum):
    """``running``: cells are open. ``paused``: the budget is used up. ``finished``: every cell has come to its end."""

    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    FINISHED = "finished"


class CellState(StrEnum):
    """``waiting``: no job has been queued for it yet; then as its job. The last three have none, and a reason."""

    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    IMPOSSIBLE = "impossible"
    STOPPED = "stopped"
    UNPAID = "unpaid"

    @property
    def open(self) -> bool:
        """Whether something is still to come of it."""
        return self in (CellState.WAITING, CellState.QUEUED, CellState.RUNNING)


class Spread(BaseModel):
    """Over the seeds that have ended. ``std`` is the sample standard deviation; null for one seed."""

    mean: float = Field(description="over the seeds")
    std: float | None = Field(default=None, description="over the seeds, of the sample")
    count: int = Field(description="seeds that it is of")


class ShownInterval(BaseModel):
    low: float = Field(description="the lower end")
    high: float = Field(description="the upper end")
    confidence: float = Field(description="of the interval, as in 0.95")


class PublishedNumber(BaseModel):
    """What others have published of the same cell. Never worked out: as it is printed, or read off a figure."""

    score: float | None = Field(description="after dropping, 0 to 100")
    baseline: float | None = Field(default=None, description="of the full model, 0 to 100")
    retention: float | None = Field(default=None, description="one by the other")
    source: str = Field(description="where it stands: paper, version, table")
    note: str | None = Field(default=None, description="how it was read, and what to know of it")


class StudyCell(BaseModel):
    """One seed of a row."""

    number: int = Field(description="counts the cells of the study, from 0")
    seed: int = Field(description="of its job")
    state: CellState = Field(description="where it stands")
    reason: str | None = Field(default=None, description="why it has no result, where it has none")
    job_id: str | None = Field(default=None, description="its job; null where there is none")
    known: bool = Field(default=False, description="whether an earlier job had done it, and nothing was run")
    has_files: bool = Field(default=False, description="whether its job has files that are still kept")
    fraction: float = Field(default=0.0, description="of its job, 0 to 1")
    score_before: float | None = Field(default=None, description="of the full model")
    score_after: float | None = Field(default=None, description="of the pruned one")
    retention: float | None = Field(default=None, description="one by the other")
    outcome: Outcome | None = Field(default=None, description="of its job's verdict")


class StudyRow(BaseModel):
    """One combination of all lists but the seeds, with what its cells have found."""

    model: str = Field(description="the model's id")
    task: str = Field(description="the task's name, or the file's")
    strategy: str = Field(description="a name of GET /v1/strategies")
    drop: float = Field(description="as it was asked for: layers, or below 1 the share of them")
    recovery: str = Field(description="its method; with a number behind, of several that have the same")
    effort: str = Field(description="of the recovery")
    cells: list[StudyCell] = Field(description="one a seed")
    comparable: bool = Field(
        default=True,
        description="whether numbers of others of its model and task may stand beside it: not of data of your own, nor"
        " where `recovery.from` goes on from another job",
    )

    layers_total: int | None = Field(default=None, description="of the model before")
    layers_kept: int | None = Field(default=None, description="of the model after")
    dropped: list[int] | None = Field(default=None, description="which layers went, from 0 in the original model")
    metric: str | None = Field(default=None, description="what the score is")
    score_before: Spread | None = Field(default=None, description="of the full model")
    score_after: Spread | None = Field(default=None, description="of the pruned one")
    retention: Spread | None = Field(default=None, description="score after / score before")
    retention_interval: ShownInterval | None = Field(
        default=None, description="of the mean retention: rows and seeds are both taken for a sample of all"
    )
    outcome: Outcome | None = Field(default=None, description="by that interval and the margin")
    verdict: str | None = Field(default=None, description="the same in words")
    parameters_before: int | None = Field(default=None, description="of the full model")
    parameters_after: int | None = Field(default=None, description="of the pruned one")
    bytes_before: int | None = Field(default=None, description="of the full model's weights")
    bytes_after: int | None = Field(default=None, description="of the pruned one's")
    speedup: Spread | None = Field(default=None, description="latency before / latency after")
    latency_ms: Spread | None = Field(
        default=None,
        description="p50 after, at the first batch size and length; null where seeds were timed on several devices",
    )
    device: str | None = Field(
        default=None, description="what it was measured on; null where that is not known, or its seeds differ in it"
    )
    published: PublishedNumber | None = Field(default=None, description="null where nothing is published of it")
    front: bool = Field(
        default=False,
        description="whether no other row of its model and task is both faster (smaller, where nothing was timed) and"
        " better",
    )


class StudyProgress(BaseModel):
    cells: int = Field(description="in all")
    by_state: dict[CellState, int] = Field(description="how many are where; states that none is in are left out")
    fraction: float = Field(description="of all cells, 0 to 1")
    eta_seconds: float | None = Field(default=None, description="until the last ends; null until it can be told")
    jobs: int = Field(description="that were begun for it")
    known: int = Field(description="cells that earlier jobs had done")
    minutes: float = Field(description="since it began, or was resumed")
    gpu_hours: float = Field(description="that its jobs took")


class Study(BaseModel):
    """Many jobs asked for at once, and their table."""

    id: str = Field(description="names the study in all calls")
    object: Literal["study"] = Field(default="study", description="what kind of thing this is")
    name: str | None = Field(description="for people")
    status: StudyStatus = Field(description="where the study stands")
    status_reason: str | None = Field(default=None, description="why, where that needs saying")
    created_at: datetime = Field(description="when it was made, RFC 3339 in UTC")
    finished_at: datetime | None = Field(description="when the last of its cells ended; null until then")
    request: dict[str, Any] = Field(description="as sent: a `StudyRequest`")
    budget: Budget = Field(description="what it may cost, as it is now")
    progress: StudyProgress = Field(description="how far it is")
    table: list[StudyRow] = Field(
        description="in the order of the lists; empty where the study is the answer to a POST: GET it"
    )
    warnings: list[str] = Field(default=[], description="what to know before the numbers are compared")
    urls: dict[str, str] = Field(default={}, description="where to go on, by name")


class StudyHead(BaseModel):
    """A study in a list: without its table."""

    id: str = Field(description="names the study in all calls")
    object: Literal["study"] = Field(default="study", description="what kind of thing this is")
    name: str | None = Field(description="for people")
    status: StudyStatus = Field(description="where the study stands")
    created_at: datetime = Field(description="when it was made, RFC 3339 in UTC")
    finished_at: datetime | None = Field(description="when the last of its cells ended; null until then")
    progress: StudyProgress = Field(description="how far it is")


class StudyList(BaseModel):
    """One page, newest first. The next page is asked for with ``after=<the last id>``."""

    object: Literal["list"] = Field(default="list", description="what kind of thing this is")
    data: list[StudyHead] = Field(description="the studies, newest first")
    has_more: bool = Field(description="whether there is another page")
    next_cursor: str | None = Field(description="give it as `after`; null on the last page")


class ImpossibleCell(BaseModel):
    number: int = Field(description="of the cell, from 0")
    cell: str = Field(description="what it is, in words")
    reason: str = Field(description="why it cannot be")


class StudyPreview(BaseModel):
    """With ``validate_only``: what the study would be; nothing is stored."""

    cells: int = Field(description="in all")
    known: int = Field(description="that earlier jobs have done")
    impossible: list[ImpossibleCell] = Field(description="the first hundred that cannot be")
    impossible_count: int = Field(description="how many cannot be")
    minutes: float | None = Field(description="of its jobs, one after another; null where that cannot be told")
    baselines: int = Field(description="full models that would be trained, each once")


class Pick(BaseModel):
    """Of one model and task: the smallest that keeps what is asked for."""

    model: str = Field(description="the model's id")
    task: str = Field(description="the task's name")
    job_id: str | None = Field(description="which job to download; null where no row keeps enough")
    download: str | None = Field(description="where")
    row: StudyRow | None = Field(description="all that is known of it")
    reason: str = Field(description="why this one, or why none")


class PickList(BaseModel):
    object: Literal["list"] = Field(default="list", description="what kind of thing this is")
    data: list[Pick] = Field(description="one for each model and task of the study")
