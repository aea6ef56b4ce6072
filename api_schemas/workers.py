"""Workers as they announce themselves: who is there, what they do, and what locks their runners in."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from api_schemas.speeds import Speeds

MeasureName = Literal[
    "files", "network", "system_calls", "network_namespace", "other_processes", "privileges", "own_user", "limits"
]

Activity = Literal["idle", "busy", "paused", "draining"]

#: Why a worker that was told to stop takes no more jobs.
DRAINING = "it was told to stop"


class Measure(BaseModel):
    """One thing that locks a runner in; where it is off, `detail` says why."""

    name: MeasureName = Field(description="what is shut or limited")
    on: bool = Field(description="whether it is")
    detail: str = Field(description="what was tried, or why it is off")


class SandboxReport(BaseModel):
    """What was tried when the worker started, from within a process locked in as its runners are."""

    complete: bool = Field(description="files and network are both shut; jobs of other tenants are done only then")
    measures: list[Measure] = Field(default=[], description="one by one")


class About(BaseModel):
    """What a worker is, as it says itself."""

    host: str = Field(description="its machine's name")
    pid: int = Field(description="its process there")
    version: str = Field(description="of layercut")
    device: Literal["cpu", "cuda"] = Field(description="what it computes on")
    gpu_name: str | None = Field(default=None, description="as its driver says")
    gpu_memory_bytes: int | None = Field(default=None, description="of the GPU")
    formats: list[str] | None = Field(
        default=None, description="names of GET /v1/formats that it writes; null for a worker of an older layercut"
    )
    speeds: Speeds | None = Field(
        default=None, description="what its device was measured to do; null for a worker of an older layercut"
    )


class WorkerState(BaseModel):
    """A worker that was heard of lately."""

    name: str = Field(description="of the worker")
    started_at: datetime = Field(description="since when it runs")
    seen_at: datetime = Field(description="when it was last heard of")
    sandbox: SandboxReport = Field(description="what locks its runners in")


class WorkerInfo(WorkerState):
    """A worker, and what it does now."""

    object: Literal["worker"] = Field(default="worker", description="what kind of thing this is")
    state: Activity = Field(description="`busy` has a job, `paused` takes none, `draining` was told to stop")
    paused_reason: str | None = Field(description="why it takes no jobs; null: it does")
    about: About | None = Field(description="null for a worker of an older layercut")
    job_id: str | None = Field(description="what it works on; null also where that is another tenant's")
    attempt: int | None = Field(description="of the job that it has")
    progress_at: datetime | None = Field(description="when its work last went on, to 20 seconds or so")


class WorkerList(BaseModel):
    object: Literal["list"] = Field(default="list", description="what kind of thing this is")
    data: list[WorkerInfo] = Field(description="the workers")


def activity(job_id: str | None, paused_reason: str | None) -> Activity:
    """What a worker does, by what its row says."""
    if paused_reason is not None:
        return "draining" if paused_reason == DRAINING else "paused"
    return "idle" if job_id is None else "busy"
