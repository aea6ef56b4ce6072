"""The body of ``POST /v1/jobs``. Unknown fields are refused; everything but ``model`` and ``task`` has a default."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from api_schemas.architectures import ModelFacts
from api_schemas.delivered import JOB_REF, PREFIX, job_of
from api_schemas.earlier_jobs import check_from, settled
from api_schemas.errors import LayercutError
from api_schemas.pruning import AskedPrune, PruneSpec
from api_schemas.recovery import RecoverySpec
from api_schemas.request_checks import (
    check_importance,
    check_model,
    check_recovery,
    check_search,
    evaluates_only,
    keeps_modules,
    prune_for,
    trains,
)
from api_schemas.request_parts import OrString, Request, Seed
from api_schemas.source_names import OBJECT_REF, is_stored
from api_schemas.strategies import STRATEGIES
from api_schemas.task_spec import TaskSpec
from api_schemas.uploads import UPLOAD_REF
from api_schemas.webhook_requests import JobWebhook

#: A path, what a job delivered or was uploaded, an address, or a hub id: a name, or two with a slash between.
MODEL_ID = (
    rf"^([/~]|\.{{1,2}}/)[^\x00]*$|^{JOB_REF}$|^{UPLOAD_REF}$|^{OBJECT_REF}[^?#@\x00]+$"
    r"|^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?$"
)


class ModelRef(OrString):
    """A hub id, a folder under one of the allowed roots, `upload:<id>`, an address of an object store (`s3://`, `gs://`,
    `az://`), or `job:<id>`: what that job delivered, as a model of its own. As a plain string, it is the id.
    """

    # For the schema alone: what does not fit is refused by its meaning, with a sentence in place of a pattern.
    id: str = Field(min_length=1, max_length=500, json_schema_extra={"pattern": MODEL_ID})
    revision: str | None = Field(default=None, max_length=200, description="branch, tag or commit, for hub models")

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {"id": value} if isinstance(value, str) else value

    @property
    def is_path(self) -> bool:
        return self.id.startswith(("/", "./", "../", "~"))

    @property
    def job_id(self) -> str | None:
        """Of the earlier job whose model it is; None for any other model."""
        return job_of(self.id) if self.id.startswith(PREFIX) else None

    @property
    def is_stored(self) -> bool:
        """Whether no path and no hub has it: it is an earlier job's, an upload, or lies in an object store."""
        return self.job_id is not None or is_stored(self.id)


class LatencySpec(Request):
    """What speed is measured on: every batch size (examples) with every length (tokens). Empty: not measured."""

    batch_sizes: list[Annotated[int, Field(ge=1, le=1024)]] = Field(default=[1, 32], max_length=8)
    sequence_lengths: list[Annotated[int, Field(ge=4, le=8192)]] = Field(default=[128], max_length=8)


class EvaluationSpec(Request):
    baseline: bool = Field(default=True, description="train and score the full model too; `distill` always does")
    seeds: list[Seed] | None = Field(
        default=None,
        min_length=1,
        max_length=10,
        json_schema_extra={"uniqueItems": True},
        description="train and score once with each, and report the mean; by default [`seed`]. The first one's model is"
        " the one that is exported",
    )
    margin: float = Field(
        default=0.01,
        gt=0,
        lt=1,
        description="share of the baseline's score that may be lost and the score still be kept",
    )
    latency: LatencySpec = LatencySpec()

    @model_validator(mode="after")
    def _distinct_seeds(self) -> EvaluationSpec:
        seeds = self.seeds or []
        twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
        if twice:
            message = f"seed {twice[0]} is listed twice: it would give the same model again"
            raise LayercutError("validation_failed", message, param="/evaluation/seeds")
        return self


class ExportSpec(Request):
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(default="auto", description="auto: as the source")


class Limits(Request):
    max_runtime_seconds: int = Field(default=24 * 3600, ge=1, le=7 * 24 * 3600)
    max_queue_seconds: int = Field(default=7 * 24 * 3600, ge=1, le=30 * 24 * 3600)
    max_attempts: int = Field(default=3, ge=1, le=10)


class JobRequest(Request):
    """A job as it is asked for."""

    model: ModelRef
    task: TaskSpec
    prune: AskedPrune = PruneSpec()
    recovery: RecoverySpec = RecoverySpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    export: ExportSpec = ExportSpec()
    limits: Limits = Limits()
    priority: int = Field(default=0, ge=-100, le=100, description="higher goes first; then the older job")
    seed: int = Field(default=42, ge=0, le=2**31 - 1)
    suffix: str | None = Field(
        default=None, max_length=64, pattern=r"^[A-Za-z0-9._-]{1,64}$", description="ends the artifact's name"
    )
    metadata: dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] = Field(
        default={}, max_length=16
    )
    webhook: JobWebhook | None = Field(default=None, description="who is told of the job's events")

    @property
    def seeds(self) -> list[int]:
        """Of the trainings, the exported model's first."""
        return self.evaluation.seeds or [self.seed]

    @property
    def trains(self) -> bool:
        """Whether a model is trained."""
        return trains(self.task, self.recovery)

    @property
    def evaluates_only(self) -> bool:
        """Whether the model stays as it is, and is not delivered again."""
        return evaluates_only(self.prune, self.recovery)

    @property
    def keeps_modules(self) -> bool:
        """Whether a sentence-transformers folder stays one; else what is delivered is what the task makes of it."""
        return keeps_modules(self.task, self.recovery)

    def check_model(self, model: ModelFacts) -> None:
        """Raise ``LayercutError`` where the request cannot work on the model."""
        check_model(self.task, self.prune, self.recovery, model)

    @model_validator(mode="after")
    def _parts_that_fit(self) -> JobRequest:
        self.prune = prune_for(self.task, self.prune)
        self.recovery = settled(self.prune, self.recovery)
        check_from(self.prune, self.recovery, trains=self.trains)
        check_search(self.task, self.prune, self.recovery)
        check_importance(self.task, self.prune)
        self._check_learnt_head()
        check_recovery(self.task, self.recovery)
        if not self.task.trains and self.recovery.method not in ("auto", "none"):
            raise LayercutError(
                "validation_failed",
                f"recovery {self.recovery.method!r} needs a task to learn; task is 'none'",
                param="/recovery/method",
            )
        if self.evaluates_only and self.export.dtype != "auto":
            raise LayercutError(
                "validation_failed",
                "nothing is dropped and nothing is trained, so no model is exported: leave the dtype out",
                param="/export/dtype",
            )
        if self.recovery.method == "distill" and not self.evaluation.baseline:
            raise LayercutError(
                "validation_failed",
                "distill learns from the baseline: it cannot be left out",
                param="/evaluation/baseline",
            )
        if len(self.seeds) > 1 and (not self.task.trains or self.recovery.method == "none"):
            raise LayercutError(
                "validation_failed", "nothing is trained, so further seeds change nothing", param="/evaluation/seeds"
            )
        return self

    def _check_learnt_head(self) -> None:
        strategy = STRATEGIES[self.prune.strategy]
        if strategy.needs_head and self.recovery.method == "finetune" and not self.evaluation.baseline:
            raise LayercutError(
                "validation_failed",
                f"strategy {strategy.name!r} needs a head that has learnt the task: the baseline cannot be left out",
                param="/evaluation/baseline",
            )


class PlanRequest(Request):
    """The body of ``POST /v1/plans``: as a job's. Task and recovery tell which stored scores are meant."""

    model: ModelRef
    task: TaskSpec = TaskSpec(name="none")
    prune: AskedPrune = PruneSpec()
    recovery: RecoverySpec = RecoverySpec()
    seed: int = Field(default=42, ge=0, le=2**31 - 1)

    @model_validator(mode="after")
    def _parts_that_fit(self) -> PlanRequest:
        self.prune = prune_for(self.task, self.prune)
        self.recovery = settled(self.prune, self.recovery)
        # A plan is also asked for without the task that a job will have.
        check_from(self.prune, self.recovery, trains=self.recovery.method != "none")
        if self.task.trains:
            check_search(self.task, self.prune, self.recovery)
            check_importance(self.task, self.prune)
            check_recovery(self.task, self.recovery)
        return self

    def check_model(self, model: ModelFacts) -> None:
        """As ``JobRequest.check_model``."""
        check_model(self.task, self.prune, self.recovery, model)

    @property
    def trains(self) -> bool:
        return trains(self.task, self.recovery)

    @property
    def keeps_modules(self) -> bool:
        return keeps_modules(self.task, self.recovery)
