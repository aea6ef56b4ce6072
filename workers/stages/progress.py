"""Reports a job's progress as events: which stage it is in, how far it is, and how long it will still take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from api_schemas.events import EventType, Level, LogData, MetricData, NewEvent, StageData, new_event
from api_schemas.jobs import Progress, Stage
from api_schemas.progress_texts import AND, left, percent
from api_schemas.reports import Reused
from api_schemas.resolved import ResolvedRequest
from figures.curves import CurveData, CurveReading
from workers.training.trainer_state import Step

# Steps that the pace is a mean of, about.
PACE_STEPS = 200
# Seconds between two reports of the parts of a stage without training.
PART_SECONDS = 10.0
# Seconds that a stage without training is guessed to take, until it is over. Only the ETA depends on it.
GUESSES = {Stage.SCORING: 3.0, Stage.EVALUATING: 5.0, Stage.EXPORTING: 2.0, Stage.VERIFYING: 15.0}


@dataclass(frozen=True)
class Told:
    """What a job has told so far that its report says too. ``timings``: seconds of each stage that is over."""

    timings: dict[str, float]
    warnings: list[str]
    reused: list[Reused]


class ProgressReporter:
    """``tell`` gets every event. ``ask`` answers what others warn of, who look after the job from outside."""

    def __init__(self, tell: Callable[[NewEvent], None], ask: Callable[[], list[str]] = list) -> None:
        self._teller, self._ask = tell, ask
        self._curves = CurveReading()
        self._began = self._last = time.monotonic()
        self._ahead = dict(GUESSES)
        self._work: dict[Stage, float] = {}
        self._pace: float | None = None
        self._left = self._saved = self._fraction = 0.0
        self._paced = 0
        #: Of the stage's parts: those of passes that are over, and how far the one under way is.
        self._passed, self._part = 0, (0, 0)
        self._stage: Stage | None = None
        self._resolved: ResolvedRequest | None = None
        self._told = Told({}, [], [])

    @property
    def told(self) -> Told:
        return self._told

    @property
    def curves(self) -> CurveData:
        """How the trainings of this attempt went so far."""
        return self._curves.found()

    def expect(self, work: dict[Stage, float], *, rounds: int, benchmark_seconds: float, search: float = 0.0) -> None:
        """What lies ahead: ``work`` of one training in each stage, in steps of the full model; ``rounds`` of all. The
        ``search`` for layers comes once.
        """
        self._work, self._left = {**work, Stage.PLANNING: search}, rounds * sum(work.values()) + search
        self._ahead[Stage.BENCHMARKING] = benchmark_seconds

    @contextmanager
    def stage(self, stage: Stage, seed: int | None = None) -> Iterator[None]:
        """A stage may come again, for another seed: its seconds are added up."""
        data = StageData(stage=stage) if seed is None else StageData(stage=stage, seed=seed)
        self._tell(new_event(EventType.STAGE, stage.value, data))
        self._stage, self._passed, self._part = stage, 0, (0, 0)
        began = time.monotonic()
        yield
        timings = self._told.timings
        timings[stage.value] = round(timings.get(stage.value, 0.0) + time.monotonic() - began, 3)
        self._ahead.pop(stage, None)
        self._report(stage)

    def skip(self, stage: Stage, why: str) -> None:
        message = f"{stage.value} skipped: {why}"
        self._tell(new_event(EventType.STAGE, message, StageData(stage=stage, skipped=True)))
        self._ahead.pop(stage, None)
        self._report(None)

    def step(self, stage: Stage, step: Step, seconds: float) -> None:
        """An optimizer step is done, ``seconds`` after the one before it."""
        work = self._work[stage] / step.total
        self._left -= work
        self._paced += 1
        pace, before = seconds / work, self._pace
        # Of the last steps only: memory that ran out, or another job, may have made them slower than the first.
        self._pace = pace if before is None else before + (pace - before) * max(1 / PACE_STEPS, 1 / self._paced)
        loss = float(f"{step.loss:.6g}")
        self._report(stage, step=step.number, total_steps=step.total, epoch=round(step.epoch, 3), loss=loss)

    def part(self, done: int, total: int) -> None:
        """Of work that is no training, so many of so many parts are done: told now and then, so that who watches sees
        that it goes on. What begins again is a further pass, and its parts come on top: no two reports are alike.
        """
        before, total_before = self._part
        if done <= before or total != total_before:
            self._passed += before
        self._part = done, total
        done, total = self._passed + done, self._passed + total
        if time.monotonic() - self._last >= PART_SECONDS:
            self._report(self._stage, step=done, total_steps=total)

    def jump(self, stage: Stage, before: int, after: int, total: int) -> None:
        """A training goes on where an earlier attempt left it, or starts again."""
        work = (after - before) * self._work[stage] / total
        self._left -= work
        self._saved += max(0.0, work)
        self._report(stage, step=after, total_steps=total)

    def spare(self, stage: Stage) -> None:
        """A training that was expected of this stage need not be done: another job has done it."""
        self._left -= self._work.get(stage, 0.0)

    def pinned(self, request: ResolvedRequest) -> None:
        """The job's request is known; what the job adds to it is told with it."""
        self._resolved = request

    def resolved(self, request: ResolvedRequest, message: str = "every default and every auto is filled in") -> None:
        self._resolved = request
        self._tell_resolved(message)

    def reuse(self, thing: Reused) -> None:
        """Something need not be made."""
        self._told.reused.append(thing)
        what = thing.kind.replace("_", " ")
        self._tell_resolved(f"reused: {what} {thing.fingerprint[:12]}, which took {thing.seconds_saved:.1f} s to make")

    def metric(
        self, name: str, value: float | None, side: Literal["before", "after"],
        *, of: str | None = None, reason: str | None = None,
    ) -> None:  # fmt: skip
        told = f"is not defined: {reason}" if value is None else f"{value:.4f}"
        data = MetricData(name=name, value=value, side=side, of=of, reason=reason)
        self._tell(new_event(EventType.METRIC, f"{name}{f' ({of})' if of else ''} {told}", data))

    def log(self, message: str, level: Level = "info", data: LogData | None = None) -> None:
        self._tell(new_event(EventType.LOG, message, data or LogData(), level))

    def warn(self, message: str) -> None:
        """Logged, and kept for the report."""
        self._told.warnings.append(message)
        self.log(message, "warning")

    def take_warnings(self) -> None:
        """Have in the report what others warn of by now; they have told it themselves."""
        self._told.warnings.extend(self._ask())

    def _tell(self, event: NewEvent) -> None:
        self._teller(event)
        self._curves.take(event)

    def _tell_resolved(self, message: str) -> None:
        if self._resolved is not None:
            known = self._resolved.model_copy(update={"reused": list(self._told.reused)})
            self._tell(new_event(EventType.RESOLVED, message, known))

    def _report(self, stage: Stage | None, **where: Any) -> None:
        self._last = time.monotonic()
        eta = self._eta()
        if eta is not None:
            # What earlier attempts did counts as if it had been done just now.
            elapsed = time.monotonic() - self._began + self._saved * (self._pace or 0.0)
            # The estimate may grow; what was shown as done stays done.
            self._fraction = max(self._fraction, min(0.999, elapsed / (elapsed + eta)))
        progress = Progress(fraction=round(self._fraction, 4), eta_seconds=eta and round(eta, 1), **where)
        self._tell(new_event(EventType.PROGRESS, text_of(progress, stage), progress))

    def _eta(self) -> float | None:
        """Seconds: the training ahead at the speed measured so far, and the guesses. None before the first step."""
        if self._left > 1e-6 and self._pace is None:
            return None
        return max(0.0, self._left) * (self._pace or 0.0) + sum(self._ahead.values())


def text_of(progress: Progress, stage: Stage | None) -> str:
    """For who reads the stream as it comes: ``recovering  step 120 of 480  61 % of the job  about 3 min left``.

    Without a step the stage is over; without a time left, it cannot be known yet.
    """
    where = f"step {progress.step} of {progress.total_steps}" if progress.step is not None else stage and "done"
    far = f"{percent(progress.fraction)} of the job"
    return AND.join(filter(None, [stage, where, far, left(progress.eta_seconds)]))
