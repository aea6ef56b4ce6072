"""What stands by a training: where its state is kept, what is known of the memory, and who is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from workers.checkpoints.checkpoint import Checkpoint, Slot
from workers.training.micro_batches import MicroBatches
from workers.training.trainer_state import TrainerState, TrainResult


def _nobody(*_: Any) -> None:
    pass


@dataclass
class TrainingHooks:
    """Of one training. Without a ``slot`` nothing is kept. ``on_warning`` gets what belongs in the report.

    ``jumped(before, after, total)`` is told when the steps done change by more than one: a training that goes on where
    it was, or starts again.
    """

    slot: Slot | None = None
    micro_batches: MicroBatches = field(default_factory=MicroBatches)
    on_warning: Callable[[str], None] = _nobody
    jumped: Callable[[int, int, int], None] = _nobody
    warnings: list[str] = field(default_factory=list)

    def warn(self, message: str) -> None:
        self.warnings.append(message)
        self.on_warning(message)

    @property
    def due(self) -> bool:
        return self.slot is not None and self.slot.due

    def latest(self) -> Checkpoint | None:
        """The checkpoint to go on from. Its warnings are given again: the report is this attempt's."""
        found = self.slot.latest() if self.slot else None
        if self.slot is None or found is None:
            return None
        done = "finished in" if found.finished else f"resumed at step {found.step} of"
        self.slot.tell(f"{done} attempt {found.attempt}")
        for warning in found.facts["warnings"]:
            self.warn(warning)
        self.jumped(0, found.step, found.facts["total"])
        return found

    def save(self, state: TrainerState, total: int, tensors: dict[str, Tensor], stepper: dict[str, Any]) -> None:
        """Raises ``Stopped`` where that was asked for."""
        assert self.slot is not None
        facts = {"total": total, "warnings": self.warnings, "state": asdict(state), "stepper": stepper}
        self.slot.save(state.step, tensors, facts)

    def finish(self, trained: TrainResult, weights: dict[str, Tensor]) -> None:
        if self.slot is not None:
            facts = {"total": trained.steps, "warnings": self.warnings, "trained": asdict(trained)}
            self.slot.save(trained.steps, weights, facts, finished=True)
