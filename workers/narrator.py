"""Tells a job's story as events: which stage it is in, how far it is, and how long it will still take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from api_schemas.events import EventType, Level, NewEvent
from api_schemas.jobs import Progress, Stage
from workers.training.loop import Step

# Seconds that a stage without training is guessed to take, until it is over. Only the ETA depends on it.
GUESSES = {Stage.SCORING: 3.0, Stage.EVALUATING: 5.0, Stage.EXPORTING: 2.0, Stage.VERIFYING: 15.0}


class Narrator:
    """``tell`` gets every event. ``timings`` holds the seconds of each finished stage."""

    def __init__(self, tell: Callable[[NewEvent], None]) -> None:
        self._tell = tell
        self._began = time.monotonic()
        self._ahead = dict(GUESSES)
        self._work: dict[Stage, float] = {}
        self._done = self._training_seconds = self._fraction = 0.0
        self.stage_now = Stage.RESOLVING
        self.timings: dict[str, float] = {}
        self.warnings: list[str] = []

    def expect(self, work: dict[Stage, float], *, benchmark_seconds: float) -> None:
        """What lies ahead: ``work`` per training stage, in steps of the full model."""
        self._work = work
        self._ahead[Stage.BENCHMARKING] = benchmark_seconds

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        self.stage_now = stage
        self._tell(NewEvent(type=EventType.STAGE, message=stage.value, data={"stage": stage.value, "skipped": False}))
        began = time.monotonic()
        yield
        self.timings[stage.value] = round(time.monotonic() - began, 3)
        self._leave(stage)

    def skip(self, stage: Stage, why: str) -> None:
        message = f"{stage.value} skipped: {why}"
        self._tell(NewEvent(type=EventType.STAGE, message=message, data={"stage": stage.value, "skipped": True}))
        self._leave(stage)

    def step(self, stage: Stage, step: Step, seconds: float) -> None:
        """An optimizer step is done, ``seconds`` after the one before it."""
        self._done += self._work[stage] / step.total
        self._training_seconds += seconds
        self._progress(step=step.number, total_steps=step.total, epoch=round(step.epoch, 3))

    def spare(self, stage: Stage) -> None:
        """The training that was expected of this stage need not be done."""
        self._work.pop(stage, None)

    def resolved(self, data: dict[str, Any], message: str = "every default and every auto is filled in") -> None:
        self._tell(NewEvent(type=EventType.RESOLVED, message=message, data=data))

    def metric(self, name: str, value: float, **data: Any) -> None:
        message = f"{name} {value:.4f}"
        self._tell(NewEvent(type=EventType.METRIC, message=message, data={"name": name, "value": value, **data}))

    def log(self, message: str, level: Level = "info") -> None:
        self._tell(NewEvent(type=EventType.LOG, message=message, level=level))

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
            elapsed = time.monotonic() - self._began
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
        work = sum(self._work.values())
        if work and not self._done:
            return None
        training = (work - self._done) * self._training_seconds / self._done if work else 0.0
        return max(0.0, training) + sum(self._ahead.values())
