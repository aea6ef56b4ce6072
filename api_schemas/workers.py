"""Workers as they announce themselves: who is there, and what locks their runners in."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

MeasureName = Literal[
    "files", "network", "system_calls", "network_namespace", "other_processes", "privileges", "own_user", "limits"
]


class Measure(BaseModel):
    """One thing that locks a runner in; where it is off, `detail` says why."""

    name: MeasureName
    on: bool
    detail: str


class SandboxReport(BaseModel):
    """What was tried when the worker started, from within a process locked in as its runners are."""

    complete: bool = Field(description="files and network are both shut; jobs of other tenants are done only then")
    measures: list[Measure] = []


class WorkerState(BaseModel):
    """A worker that was heard of lately."""

    name: str
    started_at: datetime
    seen_at: datetime
    sandbox: SandboxReport
