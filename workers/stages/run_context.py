"""What the stages of one run hand on to one another."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from api_schemas.jobs import Stage
from workers.checkpoints.checkpoint import Checkpoints, Slot
from workers.stages.job_cache import JobCache
from workers.stages.progress import ProgressReporter
from workers.stages.resolve import ResolvedJob
from workers.training.micro_batches import MicroBatches
from workers.training.trainer_state import TrainResult


@dataclass(frozen=True)
class RunContext:
    """``out`` is a folder of the run's own. ``seed`` is that of the trainings, ``kept`` the layers of the plan once
    there is one; ``trainings`` is filled by name.
    """

    job: ResolvedJob
    progress: ProgressReporter
    cache: JobCache
    out: Path
    job_id: str | None
    seed: int
    checkpoints: Checkpoints
    micro_batches: MicroBatches
    kept: list[int] | None = None
    trainings: dict[str, TrainResult] = field(default_factory=dict)

    @property
    def first(self) -> bool:
        """Whether this seed's model is the one to be exported."""
        return self.seed == self.job.request.seeds[0]

    def training_name(self, stage: Stage) -> str:
        """Under which a training of this seed stands in ``trainings``."""
        return stage.value if self.first else f"{stage.value}, seed {self.seed}"

    def slot(self, what: str) -> Slot:
        """Where a training of this seed is kept, or its scores. All but the baseline depend on the plan."""
        layers = None if what == Stage.BASELINE else self.kept
        return self.checkpoints.slot(f"{what}-{self.seed}", layers=layers)
