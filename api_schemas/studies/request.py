"""The body of ``POST /v1/studies``: lists, of which every combination is a cell, and what all their jobs have alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from api_schemas.errors import LayercutError
from api_schemas.pruning import CalibrationSpec, StrategyName
from api_schemas.recovery import AskedRecovery, RecoverySpec
from api_schemas.request_parts import Auto, OneOrMore, Request, Seed, Whole
from api_schemas.requests import EvaluationSpec, ExportSpec, Limits, ModelRef
from api_schemas.shares import Share
from api_schemas.task_kinds import Effort
from api_schemas.task_spec import TaskSpec

#: Of one list; what their product may be, the service says.
MOST_IN_LIST = 200

Drop = Annotated[Whole, Field(ge=1)] | Annotated[float, Share()]


class Budget(Request):
    """What a study may cost. Nothing more is begun once one of these is used up; what runs then is ended as usual."""

    jobs: int | None = Field(default=None, ge=1, le=1_000_000, description="that are begun; a known cell costs none")
    minutes: float | None = Field(default=None, gt=0, le=10**6, description="since the study began, or was resumed")
    gpu_hours: float | None = Field(
        default=None, gt=0, le=10**6, description="that its jobs took on GPUs, all together; a CPU's hours are none"
    )


class StudyJob(Request):
    """What all jobs of a study have alike: fields of a job. Seeds, strategies and recoveries are the study's lists."""

    evaluation: EvaluationSpec = Field(default=EvaluationSpec(), description="how each is measured")
    export: ExportSpec = Field(default=ExportSpec(), description="how each is delivered")
    limits: Limits = Field(default=Limits(), description="when to give up, of each")
    priority: int = Field(default=0, ge=-100, le=100, description="higher goes first; then the older job")
    metadata: dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] = Field(
        default={}, max_length=16, description="your own pairs, to find the jobs by"
    )
    calibration: CalibrationSpec = Field(
        default=CalibrationSpec(), description="`prune.calibration` of the strategies that measure layers on text"
    )
    protect_layers: Annotated[list[Whole], Field(max_length=1024)] | None = Field(
        default=None, description="`prune.protect_layers` of each"
    )

    @model_validator(mode="after")
    def _one_seed_each(self) -> StudyJob:
        if self.evaluation.seeds is not None:
            text = "the seeds of a study are its list `seeds`: each is a cell, and the table has their mean"
            raise LayercutError("validation_failed", text, param="/job/evaluation/seeds")
        return self

    @model_validator(mode="after")
    def _nothing_is_pushed(self) -> StudyJob:
        if self.export.push_to is not None:
            text = "the jobs of a study would all push to the same place: POST the job that you pick again with push_to"
            raise LayercutError("validation_failed", text, param="/job/export/push_to")
        return self


class Grid(Request):
    """The lists. Each combination of one of each is a cell, and each cell a job."""

    models: Annotated[list[ModelRef], Field(min_length=1, max_length=MOST_IN_LIST), OneOrMore()] = Field(
        description="what is to become smaller, as `model` of a job"
    )
    tasks: Annotated[list[TaskSpec], Field(min_length=1, max_length=MOST_IN_LIST), OneOrMore()] = Field(
        description="what it is for, as `task` of a job"
    )
    strategies: Annotated[list[StrategyName], Field(min_length=1, max_length=MOST_IN_LIST), OneOrMore()] = Field(
        default=["top"], description="names of GET /v1/strategies"
    )
    drops: Annotated[list[Drop], Field(min_length=1, max_length=MOST_IN_LIST), OneOrMore()] = Field(
        description="how many layers go; below 1, the share of them"
    )
    recoveries: Annotated[list[AskedRecovery], Field(min_length=1, max_length=MOST_IN_LIST), OneOrMore()] = Field(
        default=[RecoverySpec()], description="what mends it, as `recovery` of a job"
    )
    efforts: Annotated[list[Effort | Auto], Field(min_length=1, max_length=4), OneOrMore()] = Field(
        default=["auto"], description="`recovery.effort` of each"
    )
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=MOST_IN_LIST), OneOrMore()] = Field(
        default=[42], description="`seed` of each; the table has the mean over them"
    )

    @model_validator(mode="after")
    def _nothing_twice(self) -> Grid:
        for name in Grid.model_fields:
            check_once(getattr(self, name), f"/{name}")
        return self

    @model_validator(mode="after")
    def _one_effort_each(self) -> Grid:
        given = [effort for effort in self.efforts if effort != "auto"]
        for at, recovery in enumerate(self.recoveries):
            if given and recovery.effort != "auto":
                text = (
                    f"it has an effort of its own, {recovery.effort}, and the list `efforts` gives each recovery"
                    f" {' and '.join(given)}: leave one of the two out"
                )
                raise LayercutError("validation_failed", text, param=f"/recoveries/{at}/effort")
        return self


class StudyRequest(Grid):
    """A study as it is asked for."""

    name: str | None = Field(default=None, min_length=1, max_length=200, description="for people")
    job: StudyJob = Field(default=StudyJob(), description="what all its jobs have alike")
    impossible: Literal["refuse", "skip"] = Field(
        default="refuse",
        description="cells that cannot be, as 8 of 6 layers: `refuse` the study, or `skip` them, with the reason in the"
        " table",
    )
    stop_early: bool = Field(
        default=False,
        description="let the strategies of a size compete first, as those of `auto` do, on rows held out of the"
        " training split, and run no cell whose layers are out in that bracket",
    )
    budget: Budget = Field(default=Budget(), description="what it may cost")


class MoreCells(Grid):
    """The body of ``POST /v1/studies/{id}/cells``: a further grid. Cells that the study has already change nothing."""


class ResumeStudy(Request):
    """The body of ``POST /v1/studies/{id}/resume``."""

    budget: Budget | None = Field(default=None, description="in place of the one that it has; null: that one, anew")
    retry_failed: bool = Field(
        default=False, description="queue the jobs again that failed, and look again at cells that could not be"
    )
    without_files: bool = Field(
        default=False,
        description="run cells again, as new jobs, that have succeeded and whose files are kept no longer",
    )


def check_once(values: Sequence[Any], param: str) -> None:
    """Raise ``validation_failed`` for a value that stands in the list twice."""
    seen: set[str] = set()
    for at, value in enumerate(values):
        key = value.model_dump_json() if hasattr(value, "model_dump_json") else json.dumps(value)
        if key in seen:
            shown = key if len(key) <= 80 else f"{key[:80]}…"
            text = f"{shown} is listed twice: it would give the same cells again"
            raise LayercutError("validation_failed", text, param=f"{param}/{at}")
        seen.add(key)
