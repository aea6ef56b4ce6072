"""What the stages of one run share. Nothing in it is filled on the way: stages return what they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from api_schemas.jobs import Stage
from api_schemas.plans import Plan
from workers.checkpoints.checkpoint import Checkpoints, Slot
from workers.stages.job_cache import JobCache
from workers.stages.progress import ProgressReporter
from workers.stages.resolved_job import ResolvedJob
from workers.training.micro_batches import MicroBatches


@dataclass(frozen=True)
class RunContext:
    """``out`` is a folder of the run's own. ``seed`` is that of the trainings, ``kept`` the layers of the plan once
    there is one. ``archived``: whether a tar of the files is made, too.
    ``verify_with`` are folders with libraries of other versions.
    """

    job: ResolvedJob
    progress: ProgressReporter
    cache: JobCache
    out: Path
    job_id: str | None
    seed: int
    checkpoints: Checkpoints
    micro_batches: MicroBatches
    archived: bool = True
    verify_with: Sequence[Path] = ()
    kept: list[int] | None = None

    def planned(self, plan: Plan) -> RunContext:
        """The run after its layers are chosen."""
        return replace(self, kept=plan.kept)

    def seeded(self, seed: int) -> RunContext:
        """The run as it is repeated with another seed."""
        return replace(self, seed=seed)

    def training_name(self, stage: Stage) -> str:
        """What the report calls a training of this seed; the exported model's are called by their stage alone."""
        first = self.seed == self.job.request.seeds[0]
        return stage.value if first else f"{stage.value}, seed {self.seed}"

    def slot(self, what: str) -> Slot:
        """Where a training of this seed is kept, or its scores. All but the baseline depend on the plan."""
        layers = None if what == Stage.BASELINE else self.kept
        return self.checkpoints.slot(f"{what}-{self.seed}", layers=layers)
