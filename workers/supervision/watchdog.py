"""Whether an attempt still gets further, by what its runner tells: a process that is stopped or hangs tells nothing."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime

from api_schemas.errors import LayercutError
from api_schemas.events import EventType, LogData, NewEvent, StageData
from api_schemas.jobs import Progress

#: What is told only where work went on. A log line is not, but for that of a checkpoint.
TOLD_BY_WORK = frozenset({EventType.STAGE, EventType.RESOLVED, EventType.METRIC})


class Watchdog:
    """Of one attempt. It watches from ``begin`` on; until then the inputs are staged."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since, self._spared, self._seen_at = math.inf, 0.0, datetime.now(UTC)
        self._stage: str | None = None
        self._place: tuple[object, ...] = ()

    def begin(self) -> None:
        """The runner has its job."""
        self._since, self._spared, self._seen_at = time.monotonic(), 0.0, datetime.now(UTC)

    def heard(self, event: NewEvent) -> None:
        if self._gets_further(event):
            self.begin()

    def spare(self, seconds: float) -> None:
        """So long nobody listened: what was told meanwhile is still to be heard."""
        self._spared += seconds

    def deadline(self, answered: float) -> float:
        """When it counts as stalled, by ``time.monotonic``; it waited for an answer of ours until ``answered``."""
        return max(self._since, answered) + self._spared + self._seconds

    def stalled(self) -> LayercutError:
        """What the job ends with."""
        stage = f" in the stage {self._stage}" if self._stage else ""
        return LayercutError(
            "stalled",
            f"the runner has told of no progress{stage} since {self._seen_at:%Y-%m-%d %H:%M:%S} UTC, and"
            f" {self._seconds:g} s are allowed (LAYERCUT_NO_PROGRESS_SECONDS)",
        )

    def _gets_further(self, event: NewEvent) -> bool:
        if isinstance(event.data, StageData) and not event.data.skipped:
            self._stage = event.data.stage
        if isinstance(event.data, Progress):
            before, self._place = self._place, (event.data.fraction, event.data.step, event.data.total_steps)
            return self._place != before
        return event.type in TOLD_BY_WORK or (isinstance(event.data, LogData) and event.data.checkpoint is not None)
