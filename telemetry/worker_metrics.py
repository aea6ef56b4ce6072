"""What a worker counts, by name: attempts, stages, the cache, and what its device was used for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram

from telemetry.metrics import OTHER, FreeSpace, Named, new_registry, text_of

#: A stage of a small model takes a blink, a training may take a day.
STAGE_BUCKETS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)


class WorkerMetrics:
    """Of one worker process. ``codes`` are the errors that are told apart. Thread-safe."""

    def __init__(
        self,
        version: str,
        codes: Collection[str],
        folders: Mapping[str, Path],
        stuck_loops: Callable[[], int] = lambda: 0,
    ) -> None:
        self.registry = new_registry(version)
        self._code = Named(codes)
        self.registry.register(FreeSpace(folders))
        self._attempts = Counter(
            "layercut_attempts_total", "Attempts at jobs that ended here, by how", ["outcome"], registry=self.registry
        )
        self._failures = Counter(
            "layercut_job_failures_total", "Jobs that failed, by their error", ["code"], registry=self.registry
        )
        self._stages = Histogram(
            "layercut_stage_duration_seconds", "How long the stages of attempts took", ["stage"],
            buckets=STAGE_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self._lease_losses = Counter(
            "layercut_lease_losses_total", "Attempts that found their lease gone", registry=self.registry
        )
        self._device = Counter(
            "layercut_device_seconds_total", "For how long attempts held the device", ["device"],
            registry=self.registry,
        )  # fmt: skip
        self._bytes = Counter("layercut_artifact_bytes_total", "Of published files", registry=self.registry)
        self._cache = Counter(
            "layercut_cache_requests_total", "What runners asked of the cache", ["kind", "outcome"],
            registry=self.registry,
        )  # fmt: skip
        self._claims = Counter(
            "layercut_claims_total", "Looks for a job: taken, or nothing to take (doubled wake-ups among them)",
            ["outcome"], registry=self.registry,
        )  # fmt: skip
        self._busy = Gauge("layercut_worker_busy", "1 while it has a job", registry=self.registry)
        stuck = Gauge(
            "layercut_worker_stuck_loops", "Loops that should have turned by now: as /healthz", registry=self.registry
        )
        stuck.set_function(stuck_loops)
        # An increase is seen only from a number that was there before.
        for code in (*codes, OTHER):
            self._failures.labels(code)
        for outcome in ("taken", "nothing"):
            self._claims.labels(outcome)
        for outcome in ("succeeded", "failed", "cancelled", "requeued", "lease_lost"):
            self._attempts.labels(outcome)

    def count_claim(self, *, taken: bool) -> None:
        self._claims.labels("taken" if taken else "nothing").inc()

    def set_busy(self, busy: bool) -> None:
        self._busy.set(busy)

    def count_attempt(self, outcome: str, device: str, seconds: float) -> None:
        self._attempts.labels(outcome).inc()
        self._device.labels(device).inc(max(0.0, seconds))

    def count_failure(self, code: str) -> None:
        self._failures.labels(self._code(code)).inc()

    def count_lease_loss(self) -> None:
        self._lease_losses.inc()

    def count_stage(self, stage: str, seconds: float) -> None:
        self._stages.labels(stage).observe(max(0.0, seconds))

    def count_artifact(self, size: int) -> None:
        self._bytes.inc(size)

    def count_cache(self, kind: str, outcome: str) -> None:
        """``hit`` or ``miss``."""
        self._cache.labels(kind, outcome).inc()

    def text(self) -> bytes:
        return text_of(self.registry)
