"""A supervisor whose attempts are tracked, as ``WorkerProcess`` puts it together."""

from __future__ import annotations

from collections.abc import Sequence

from api_schemas.errors import ERRORS
from telemetry.tracing import Tracing
from telemetry.worker_metrics import WorkerMetrics
from tests.support.supervisor_rig import FAKE_RUNNER, UNLOCKED, Rig, no_inputs
from workers.settings import WorkerSettings
from workers.supervision.pulse import Pulse
from workers.supervision.recorded_store import RecordedJobs
from workers.supervision.recording import Recorder
from workers.supervision.supervisor import Supervisor
from workers.tracking.tracker import Tracker
from workers.tracking.tracking import Tracking


class TrackedRig(Rig):
    def __init__(self, settings: WorkerSettings, trackers: Sequence[Tracker]) -> None:
        super().__init__(settings, FAKE_RUNNER, no_inputs)
        self.supervisor.close()
        self.trackers = trackers
        self.tracking = Tracking(trackers, version="1.2.3", public_url=settings.public_url)
        recorder = Recorder("rig", WorkerMetrics("1", ERRORS, {}), Tracing("worker", "1"), Pulse(), "cpu")
        self.supervisor = Supervisor(
            RecordedJobs(self.engine, settings.lease_seconds, recorder=recorder, tracking=self.tracking),
            self.cache, self.artifacts, settings, command=FAKE_RUNNER, worker="rig", stage=no_inputs, sandbox=UNLOCKED,
            around=recorder.attempt, learn=self.tracking.published, tracking=self.tracking,
        )  # fmt: skip

    def told(self, seconds: float = 60.0) -> bool:
        """Whether all services are told of all by then."""
        return all(tracker.flush(seconds) for tracker in self.trackers)

    def close(self) -> None:
        super().close()
        self.tracking.close(1.0)
