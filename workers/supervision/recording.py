"""What is seen of a worker's attempts from outside: numbers, spans, fields of its log lines, its row among the workers.

All of it follows what the store took, not what a runner said: a stage begins when its event was written down.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from api_schemas.events import EventType, NewEvent, StageData
from api_schemas.jobs import Job, Status
from store.jobs import Claim
from store.workers import Doing
from telemetry.logs import bound_process
from telemetry.tracing import Attributes, Span, Tracing, trace_id_of
from telemetry.worker_metrics import WorkerMetrics
from workers.supervision.pulse import Pulse

#: Before the first stage of a runner: its inputs are fetched and copied.
STAGING = "staging"
LEASE_LOST = "lease_lost"
LEASE_LOOP = "lease"
#: How an attempt ended, by what the store says of its job.
OUTCOMES = {
    Status.SUCCEEDED: "succeeded",
    Status.FAILED: "failed",
    Status.CANCELLED: "cancelled",
    Status.QUEUED: "requeued",
}


@dataclass
class _Part:
    """A stage of an attempt, or the whole of it."""

    name: str
    span: Span
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


@dataclass
class _Running:
    claim: Claim
    whole: _Part
    stage: _Part
    moved: float = field(default_factory=time.monotonic)


class Recorder:
    """Of one worker, which has one attempt at a time. ``changed`` is called when another begins or ends. Thread-safe.

    ``device`` is ``cpu`` or ``cuda``.
    """

    def __init__(self, worker: str, metrics: WorkerMetrics, tracing: Tracing, pulse: Pulse, device: str) -> None:
        self._worker, self._metrics, self._tracing, self._device = worker, metrics, tracing, device
        self._pulse = pulse
        self._running: _Running | None = None
        self._lock = threading.Lock()
        self.changed: Callable[[], None] = lambda: None

    def doing(self) -> Doing | None:
        """What the worker does now."""
        with self._lock:
            at = self._running
            if at is None:
                return None
            lease = at.claim.lease
            return Doing(lease.job_id, lease.attempt, time.monotonic() - at.moved)

    def claimed(self, claim: Claim | None) -> None:
        self._metrics.count_claim(taken=claim is not None)

    @contextmanager
    def attempt(self, claim: Claim) -> Iterator[None]:
        """Around an attempt: from its claim until nothing of it is left on this host."""
        lease = claim.lease
        about: Attributes = {
            "layercut.job_id": lease.job_id, "layercut.attempt": lease.attempt, "layercut.worker": self._worker,
        }  # fmt: skip
        span = self._tracing.start("attempt", claim.traceparent, about)
        with self._lock:
            self._running = _Running(claim, _Part("attempt", span), self._begin(STAGING, span))
        self._metrics.set_busy(True)
        self.changed()
        try:
            with bound_process(**_fields(claim, span, self._worker)):
                yield
        finally:
            # What ended without a word of the store's lost its lease, or will have.
            self._end(LEASE_LOST)
            # Once more: its session may have turned after the end, and is over by now.
            self._pulse.rest(LEASE_LOOP)
            self._metrics.set_busy(False)
            self.changed()

    def turned(self, within: float) -> None:
        """The attempt's session goes on, and will again within so many seconds."""
        if self.doing() is not None:
            self._pulse.beat(LEASE_LOOP, within)

    def told(self, event: NewEvent) -> None:
        """The store took an event of the attempt."""
        with self._lock:
            at = self._running
            if at is None or event.type == EventType.LOG:
                return
            at.moved = time.monotonic()
            if isinstance(event.data, StageData) and not event.data.skipped:
                self._end_stage(at)
                at.stage = self._begin(event.data.stage.value, at.whole.span)

    def ended(self, job: Job, size: int | None = None) -> None:
        """The store took the attempt's end; ``size`` is of what was published, in bytes."""
        code = job.error.code if job.status == Status.FAILED and job.error else None
        if self._end(OUTCOMES[job.status], code):
            self._metrics.count_artifact(size or 0)

    def lost(self) -> None:
        """The store refused a write about the attempt: its lease is another's."""
        self._end(LEASE_LOST)

    def _end(self, outcome: str, code: str | None = None) -> bool:
        """Once for an attempt: whether it was this time."""
        with self._lock:
            at, self._running = self._running, None
            if at is None:
                return False
            self._pulse.rest(LEASE_LOOP)
            self._end_stage(at, code or (LEASE_LOST if outcome == LEASE_LOST else None))
            at.whole.span.end({"layercut.outcome": outcome}, error=code or (None if _well(outcome) else outcome))
        self._metrics.count_attempt(outcome, self._device, at.whole.seconds)
        if outcome == LEASE_LOST:
            self._metrics.count_lease_loss()
        if code is not None:
            self._metrics.count_failure(code)
        return True

    def _begin(self, stage: str, whole: Span) -> _Part:
        return _Part(stage, self._tracing.start(stage, whole.traceparent))

    def _end_stage(self, at: _Running, error: str | None = None) -> None:
        self._metrics.count_stage(at.stage.name, at.stage.seconds)
        at.stage.span.end(error=error)


def _well(outcome: str) -> bool:
    return outcome in ("succeeded", "cancelled")


def _fields(claim: Claim, span: Span, worker: str) -> dict[str, str | int]:
    """Of each line that is logged meanwhile."""
    fields: dict[str, str | int] = {
        "job_id": claim.lease.job_id, "attempt": claim.lease.attempt, "worker": worker,
    }  # fmt: skip
    if claim.request_id is not None:
        fields["request_id"] = claim.request_id
    if span.traceparent is not None:
        fields["trace_id"] = trace_id_of(span.traceparent)
    return fields
