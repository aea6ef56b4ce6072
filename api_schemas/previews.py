"""What is answered before anything is stored: a job as it would be, and a plan, each with what it would take."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from api_schemas.estimates import Estimate
from api_schemas.plans import Plan
from api_schemas.resolved import ResolvedRequest

EXPECTED = "what the job is expected to take, by what its workers' device was measured to do; null: see `no_estimate`"
WHY_NOT = "why there is no estimate"


class JobPreview(BaseModel):
    """What a job would be: the answer to ``POST /v1/jobs?validate_only=true``. Nothing was stored, so it has no id."""

    id: None = Field(default=None, description="none: nothing was stored")
    object: Literal["job"] = Field(default="job", description="what kind of thing this is")
    status: None = Field(default=None, description="none: nothing was stored")
    model: str = Field(description="the model's id")
    task: str = Field(description="the task's name, or the file's")
    priority: int = Field(description="higher goes first")
    request: dict[str, Any] = Field(description="as sent: a `JobRequest`")
    resolved: ResolvedRequest = Field(description="every default filled in, and the plan where the model could be read")
    metadata: dict[str, str] = Field(description="the pairs that it was sent with")
    estimate: Estimate | None = Field(description=EXPECTED)
    no_estimate: str | None = Field(default=None, description=WHY_NOT)


class PlanAnswer(Plan):
    """A plan, and what a job that carries it out would take; of a job's own plan only the first is kept."""

    estimate: Estimate | None = Field(description=EXPECTED)
    no_estimate: str | None = Field(default=None, description=WHY_NOT)
