"""Reports a job's progress as events: which stage it is in, how far it is, and how long it will still take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from api_schemas.events import EventType, Level, NewEvent
from api_schemas.jobs import Progress, Stage
from workers.training.trainer_state import Step

# Steps that the pace is a mean of, about.
PACE_STEPS = 200
# Seconds that a stage without training is guessed to take, until it is over. Only the ETA depends on it.
GUESSES = {Stage.SCORING: 3.0, Stage.EVALUATING: 5.0, Stage.EXPORTING: 2.0, Stage.VERIFYING: 15.0}


class ProgressReporter:
    """``tell`` gets every event. ``timings`` holds the seconds of each finished stage."""

    def __init__(self, tell: Callable[[NewEvent], None]) -> None:
        self._tell = tell
        self._began = time.monotonic()
        self._ahead = dict(GUESSES)
        self._work: dict[Stage, float] = {}
        self._pace: float | None = None
        self._left = self._saved = self._fraction = 0.0
        self._paced = 0
        self.timings: dict[str, float] = {}
        self.warnings: list[str] = []

    def expect(self, work: dict[Stage, float], *, rounds: int, benchmark_seconds: float, search: float = 0.0) -> None:
        """What lies ahead: ``work`` of one training in each stage, in steps of the full model; ``rounds`` of all. The
        ``search`` for layers comes once.
        """
        self._work, self._left = {**work, Stage.PLANNING: search}, rounds * sum(work.values()) + search
        self._ahead[Stage.BENCHMARKING] = benchmark_seconds

    @contextmanager
    def stage(self, stage: Stage, **data: Any) -> Iterator[None]:
        """A stage may come again, for another seed: its seconds are added up."""
        told = {"stage": stage.value, "skipped": False, **data}
        self._tell(NewEvent(type=EventType.STAGE, message=stage.value, data=told))
        began = time.monotonic()
        yield
        self.timings[stage.value] = round(self.timings.get(stage.value, 0.0) + time.monotonic() - began, 3)
        self._leave(stage)

    def skip(self, stage: Stage, why: str) -> None:
        message = f"{stage.value} skipped: {why}"
        self._tell(NewEvent(type=EventType.STAGE, message=message, data={"stage": stage.value, "skipped": True}))
        self._leave(stage)

    def step(self, stage: Stage, step: Step, seconds: float) -> None:
        """An optimizer step is done, ``seconds`` after the one before it."""
        work = self._work[stage] / step.total
        self._left -= work
        self._paced += 1
        pace, before = seconds / work, self._pace
        # Of the last steps only: memory that ran out, or another job, may have made them slower than the first.
        self._pace = pace if before is None else before + (pace - before) * max(1 / PACE_STEPS, 1 / self._paced)
        self._progress(step=step.number, total_steps=step.total, epoch=round(step.epoch, 3))

    def jump(self, stage: Stage, before: int, after: int, total: int) -> None:
        """A training goes on where an earlier attempt left it, or starts again."""
        work = (after - before) * self._work[stage] / total
        self._left -= work
        self._saved += max(0.0, work)
        self._progress(step=after, total_steps=total)

    def spare(self, stage: Stage) -> None:
        """A training that was expected of this stage need not be done: another job has done it."""
        self._left -= self._work.get(stage, 0.0)

    def resolved(self, data: dict[str, Any], message: str = "every default and every auto is filled in") -> None:
        self._tell(NewEvent(type=EventType.RESOLVED, message=message, data=data))

    def metric(self, name: str, value: float, **data: Any) -> None:
        message = f"{name} {value:.4f}"
        self._tell(NewEvent(type=EventType.METRIC, message=message, data={"name": name, "value": value, **data}))

    def log(self, message: str, level: Level = "info", **data: Any) -> None:
        self._tell(NewEvent(type=EventType.LOG, message=message, level=level, data=data))

    def warn(self, message: str) -> None:
        """Logged, and kept for the report."""
        self.warnings.append(message)
        self.log(message, "warning")

    def _leave(self, stage: Stage) -> None:
        self._ahead.pop(stage, None)
        self._progress()

    def _progress(self, **where: Any) -> None:
        eta = self._eta()
        if eta is not None:
            # What earlier attempts did counts as if it had been done just now.
            elapsed = time.monotonic() - self._began + self._saved * (self._pace or 0.0)
            # The estimate may grow; what was shown as done stays done.
            self._fraction = max(self._fraction, min(0.999, elapsed / (elapsed + eta)))
        progress = Progress(fraction=round(self._fraction, 4), eta_seconds=eta and round(eta, 1), **where)
        self._tell(
            NewEvent(
                type=EventType.PROGRESS, message=f"{progress.fraction:.0%}", data=progress.model_dump(exclude_none=True)
            )
        )

    def _eta(self) -> float | None:
        """Seconds: the training ahead at the speed measured so far, and the guesses. None before the first step."""
        if self._left > 1e-6 and self._pace is None:
            return None
        return max(0.0, self._left) * (self._pace or 0.0) + sum(self._ahead.values())
