"""How much one attempt may tell: a rate, beyond which events are merged, and a whole, beyond which the job ends.

A runner that was taken over tells without end: what it tells is written to the database, and read by every watcher.
"""

from __future__ import annotations

from api_schemas.errors import LayercutError
from api_schemas.events import EventType, NewEvent, failure
from workers.protocol import stored_bytes

#: Of one attempt, progress aside: that is bounded by its gaps. A week of checkpoints every five minutes is 2 016.
MAX_EVENTS = 50_000
MAX_BYTES = 32 * 2**20
#: So many are written at once, and so many a second from then on.
BURST = 300
PER_SECOND = 10.0
#: Seconds between two of progress grow with the attempt's age, so that one of a week has some 60 000: it shows as many
#: steps as this, at least, but never waits longer than that.
PROGRESS_STEPS = 2000
LONGEST_GAP = 10.0


class EventBudget:
    """Of one attempt."""

    def __init__(self) -> None:
        self._events = self._bytes = 0

    def spend(self, event: NewEvent) -> NewEvent | None:
        """Count ``event``; the failure of the job, where it is one too many."""
        if event.type == EventType.PROGRESS:
            return None
        self._events += 1
        self._bytes += stored_bytes(event)
        for told, most, what in ((self._events, MAX_EVENTS, "events"), (self._bytes, MAX_BYTES, "bytes of events")):
            if told > most:
                return failure(LayercutError("too_many_events", f"the job's runner told more than {most} {what}"))
        return None


class Pace:
    """When the next event may be written; times by ``time.monotonic``."""

    def __init__(self) -> None:
        #: When all that was written would have been, at ``PER_SECOND``.
        self._paid = 0.0

    @property
    def next(self) -> float:
        return self._paid - (BURST - 1) / PER_SECOND

    def spend(self, now: float) -> None:
        self._paid = max(self._paid, now) + 1 / PER_SECOND


def progress_gap(age: float) -> float:
    """Seconds between two events of progress of an attempt that is ``age`` seconds old."""
    return min(LONGEST_GAP, age / PROGRESS_STEPS)
