"""The body of ``POST /v1/jobs``. Unknown fields are refused; everything but ``model`` and ``task`` has a default."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from api_schemas.architectures import ARCHITECTURES, ModelFacts
from api_schemas.delivered import JOB_REF, PREFIX, job_of
from api_schemas.earlier_jobs import check_from, settled
from api_schemas.errors import LayercutError
from api_schemas.labels import not_of_head
from api_schemas.pruning import AskedPrune, PruneSpec
from api_schemas.recovery import RecoverySpec
from api_schemas.request_parts import OrString, Request, Seed
from api_schemas.strategies import STRATEGIES
from api_schemas.task_spec import LabelMap, TaskSpec
from api_schemas.webhook_requests import JobWebhook

#: A path, what an earlier job delivered, or a hub id: a name, or two with a slash between.
MODEL_ID = (
    rf"^([/~]|\.{{1,2}}/)[^\x00]*$|^{JOB_REF}$"
    r"|^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?$"
)


class ModelRef(OrString):
    """A hub id, a folder under one of the allowed roots, or `job:<id>`: what that job delivered, as a model of its own.
    As a plain string, it is the id.
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
        """Raise ``unsupported_architecture`` for a task that the model's family is not trained on, and
        ``validation_failed`` for texts longer than it reads, and for labels that its head does not have.
        """
        self._check_words(model)
        kind = self.task.task_kind
        if kind is not None and kind.library == "sentence-transformers" and model.modules is None:
            raise LayercutError(
                "model_invalid",
                f"{model.id!r} has no modules.json: how its tokens become a vector (the pooling) is not known. Save it"
                " with sentence-transformers",
                param="/model",
            )
        longest, asked = model.max_positions, self.recovery.max_length
        if asked != "auto" and longest is not None and asked > longest:
            raise LayercutError(
                "validation_failed",
                f"max_length is {asked} tokens, and the model reads {longest} at most: give {longest} or less, or"
                " leave it out",
                param="/recovery/max_length",
            )
        if self.task.trains and ARCHITECTURES[model.architecture].kind == "encoder-decoder":
            raise LayercutError(
                "unsupported_architecture",
                f"{model.architecture} is an encoder-decoder: it can be pruned with task 'none', and not trained on a"
                " task",
                param="/task",
            )

    def _check_words(self, model: ModelFacts) -> None:
        meant = self.task.labels.root if isinstance(self.task.labels, LabelMap) else None
        unknown = not_of_head(model.labels, meant) if meant and model.labels else None
        if unknown is not None:
            raise LayercutError(
                "validation_failed",
                f"the head has no label {unknown!r}; its labels are: {', '.join(model.labels or ())}",
                param="/task/labels",
            )

    @model_validator(mode="after")
    def _parts_that_fit(self) -> JobRequest:
        self.prune = prune_for(self.task, self.prune)
        self.recovery = settled(self.prune, self.recovery)
        check_from(self.prune, self.recovery, trains=self.trains)
        self._check_search()
        self._check_importance()
        self._check_recovery()
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

    def _check_recovery(self) -> None:
        kind, text = self.task.task_kind, self.recovery.text
        if kind is not None and kind.labels is None and self.recovery.method == "finetune":
            raise LayercutError(
                "validation_failed",
                f"a {kind.name} has no labels to fine-tune on: distill, or leave the method out",
                param="/recovery/method",
            )
        if text is None:
            return
        if kind is None or kind.labels is None or self.recovery.method not in ("auto", "distill"):
            why = (
                "the task's own dataset is such text" if kind and kind.labels is None else "only distill learns from it"
            )
            raise LayercutError("validation_failed", f"text without labels: {why}", param="/recovery/text")
        columns = len(self.task.glue.columns if self.task.glue else self.task.text_columns or ("",))
        if text.columns and len(text.columns) != columns:
            raise LayercutError(
                "validation_failed",
                f"the task reads {columns} texts a row, and {len(text.columns)} columns are given",
                param="/recovery/text/columns",
            )

    def _check_search(self) -> None:
        """That candidates have a task to compete on, and a baseline to come near to."""
        if not STRATEGIES[self.prune.strategy].searches:
            return
        if not self.task.trains:
            raise LayercutError(
                "validation_failed",
                f"strategy {self.prune.strategy!r} lets candidates learn from the baseline on a task's training rows;"
                " task is 'none'",
                param="/prune/strategy",
            )
        if self.recovery.method not in ("auto", "distill"):
            raise LayercutError(
                "validation_failed",
                f"strategy {self.prune.strategy!r} compares candidates by what they learn from the baseline: recovery"
                f" must be 'distill', not {self.recovery.method!r}",
                param="/recovery/method",
            )

    def _check_importance(self) -> None:
        """That there is text to score on, and where the strategy needs one, a loss."""
        strategy, calibration = STRATEGIES[self.prune.strategy], self.prune.calibration
        if strategy.needs_data and not self.task.trains and not calibration.on_text:
            raise LayercutError(
                "validation_failed",
                f"strategy {strategy.name!r} measures layers on a task's training text; task is 'none':"
                " give prune.calibration.dataset",
                param="/prune/strategy" if calibration.source == "auto" else "/prune/calibration/source",
            )
        if strategy.needs_labels and self.task.trains and calibration.on_text:
            raise LayercutError(
                "validation_failed",
                f"strategy {strategy.name!r} measures layers by the loss on the task's labels, and text has none",
                param="/prune/calibration",
            )
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
        return self

    @property
    def trains(self) -> bool:
        return trains(self.task, self.recovery)

    @property
    def keeps_modules(self) -> bool:
        return keeps_modules(self.task, self.recovery)


def evaluates_only(prune: PruneSpec, recovery: RecoverySpec) -> bool:
    """As ``JobRequest.evaluates_only``, of parts that were checked."""
    return STRATEGIES[prune.strategy].drops_nothing and recovery.method == "none"


def prune_for(task: TaskSpec, prune: PruneSpec) -> PruneSpec:
    """``prune`` with the strategy of the task's kind, where none is asked for and its amount does not need another."""
    kind = task.task_kind
    if kind is None or "strategy" in prune.model_fields_set or kind.strategy == prune.strategy:
        return prune
    return PruneSpec.model_validate({**prune.model_dump(exclude_unset=True), "strategy": kind.strategy})


def keeps_modules(task: TaskSpec, recovery: RecoverySpec) -> bool:
    """As ``JobRequest.keeps_modules``."""
    return not trains(task, recovery) or (task.task_kind is not None and task.task_kind.teacher == "source")


def trains(task: TaskSpec, recovery: RecoverySpec) -> bool:
    """Whether a job of these trains a model."""
    return task.trains and recovery.method != "none"
