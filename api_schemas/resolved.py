"""The request with every default decided: worked out once, at admission, stored, shown, handed over, carried out."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from api_schemas.architectures import ModelFacts
from api_schemas.delivered import Delivered, Start
from api_schemas.errors import LayercutError
from api_schemas.further import plan_job
from api_schemas.pinned import PinnedSource
from api_schemas.plans import Plan
from api_schemas.pruning import PruneSpec
from api_schemas.recovery import Recovery, resolve_recovery
from api_schemas.reports import Reused
from api_schemas.request_parts import Seed
from api_schemas.requests import EvaluationSpec, ExportSpec, JobRequest, Limits, ModelRef
from api_schemas.strategies import STRATEGIES
from api_schemas.task_spec import TaskSpec


class ResolvedRequest(BaseModel):
    """What a job will do. The model is pinned at its commit, and the plan at the layers that it names.

    What only data, device or a measurement can decide stays open until a worker has it: ``batch_size`` and
    ``precision`` of ``recovery``, ``dtype`` of ``export``, and the layers of a plan that goes by importance.
    """

    model_config = ConfigDict(extra="forbid")

    model: ModelRef = Field(description="`revision` is the commit, for a hub model that could be looked at")
    task: TaskSpec
    prune: PruneSpec
    recovery: Recovery | None = Field(description="null where the model could not be looked at yet")
    evaluation: EvaluationSpec
    export: ExportSpec
    limits: Limits
    priority: int
    seed: Seed
    suffix: str | None
    metadata: dict[str, str]
    plan: Plan | None = Field(description="null where the model could not be looked at yet: its worker plans then")
    delivered: Delivered | None = Field(default=None, description="the model, where it is `job:<id>`")
    sources: list[PinnedSource] = Field(
        default=[], description="what the request names of uploads and object stores, pinned to its files"
    )
    start: Start | None = Field(default=None, description="of `recovery.from`: what the recovery starts from")
    device: str | None = Field(default=None, description="where the job runs, once it does")
    reused: list[Reused] = Field(default=[], description="what an earlier job had made")

    @property
    def seeds(self) -> list[int]:
        """Of the trainings, the exported model's first."""
        return self.evaluation.seeds or [self.seed]

    @property
    def without_places(self) -> ResolvedRequest:
        """As it is shown: without where the files of earlier jobs lie."""
        named = {"delivered": self.delivered, "start": self.start}
        places = {name: one.model_copy(update={"artifact": ""}) for name, one in named.items() if one is not None}
        return self.model_copy(update=places)

    @property
    def evaluates_only(self) -> bool:
        """As ``JobRequest.evaluates_only``."""
        return self.recovery is not None and STRATEGIES[self.prune.strategy].drops_nothing and not self.trains

    @property
    def trains(self) -> bool:
        """Whether a model is trained, as far as that is known."""
        return self.recovery is not None and self.recovery.method != "none"


def resolve(
    request: JobRequest,
    model: ModelFacts | None,
    *,
    delivered: Delivered | None = None,
    start: Start | None = None,
    sources: Sequence[PinnedSource] = (),
) -> ResolvedRequest:
    """Decide all that the request and the model's facts decide; without facts, what the request alone does.

    ``delivered`` and ``start`` are what the jobs made that the request names, ``model`` and ``recovery.from``;
    ``sources`` what it names of uploads and object stores.

    Raises ``LayercutError`` (``invalid_layers``, ``validation_failed``, ``unsupported_architecture``) with the field to
    blame where the request cannot work on the model.
    """
    if model is not None:
        request.check_model(model)
    recovery = None if model is None else resolve_recovery(request.recovery, model, kind=request.task.task_kind)
    return ResolvedRequest(
        model=request.model.model_copy(update={"revision": model.revision}) if model else request.model,
        task=request.task,
        prune=request.prune.decided,
        recovery=recovery,
        evaluation=request.evaluation.model_copy(update={"seeds": request.seeds}),
        export=request.export,
        limits=request.limits,
        priority=request.priority,
        seed=request.seed,
        suffix=request.suffix,
        metadata=request.metadata,
        delivered=delivered,
        start=start,
        sources=list(sources),
        plan=None if model is None else plan_job(request.prune, model, start, seed=request.seed),
    )


#: Nothing of a plan hangs on these, and the hub's page may say them in other words than the files do.
TOLD_OTHERWISE = frozenset({"id", "license"})


def check_pinned(plan: Plan, found: ModelFacts) -> None:
    """Raise ``model_invalid`` where ``found`` is not the model that ``plan`` was made for: one changed in between."""
    check_unchanged(plan.model, found, "/model")


def check_unchanged(pinned: ModelFacts, found: ModelFacts, param: str) -> None:
    """As ``check_pinned``, of a model that ``param`` of the request names."""
    for name, expected in pinned:
        if name in TOLD_OTHERWISE:
            continue
        now = getattr(found, name)
        # What the hub was too slow to tell was not promised.
        if expected is not None and now is not None and expected != now:
            raise LayercutError(
                "model_invalid",
                f"the model changed after the job was accepted: {name} was {expected!r}, and is {now!r} now. POST the"
                " job again",
                param=param,
            )
