"""All that is said between one attempt and the store, in one thread: a slow database holds up no kill."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Self, TypeVar

from api_schemas.events import EventType, LogData, NewEvent, new_event
from api_schemas.jobs import Status
from store.jobs import JobStore, Lease, LeaseLost
from store.passing import passing
from workers.settings import WorkerSettings
from workers.supervision.event_budget import Pace, progress_gap
from workers.supervision.inbox import Inbox
from workers.supervision.retries import Pauses, persist, untold
from workers.supervision.threads import start

log = logging.getLogger("layercut.lease")

POLL_SECONDS = 1.0
#: Between two tries to renew the lease, or to write: a lease is a short time.
LONGEST_PAUSE_SECONDS = 4.0
#: How long a progress waits after an event of that type. The first of a stage tells that its work has begun.
PROGRESS_AFTER = {EventType.PROGRESS: 0.5, EventType.STAGE: 0.0}

#: Events that wait to be written, one more of each type aside: from then on the newest of a type replaces its oldest.
MOST_PENDING = 100
LEFT_OUT = "{count} events were left out here: the job told them faster than they are written down"

Answer = TypeVar("Answer")


class Interrupt(StrEnum):
    """Why an attempt ends though its runner goes on."""

    LEASE_LOST = "lease lost"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    STOPPING = "stopping"


class LeaseSession:
    """Renews the lease, writes events down, and puts LEASE_LOST or CANCELLED into ``inbox``.

    ``accepted`` is when the claim was sent, by ``time.monotonic``. Use as a context manager.
    """

    def __init__(
        self, store: JobStore, lease: Lease, settings: WorkerSettings, *, inbox: Inbox, accepted: float
    ) -> None:
        self._store, self._lease, self._settings, self._inbox = store, lease, settings, inbox
        self._accepted = self._began = accepted
        self._pending: deque[NewEvent] = deque()
        self._left_out = 0
        self._pace = Pace()
        self._writing: NewEvent | None = None
        #: Number of the last event that the store has said to have kept.
        self._kept = 0
        self._change = threading.Condition()
        self._closed = self._lost = self._hurried = self._cancelled = False
        self._next_beat = accepted + settings.heartbeat_seconds
        self._next_poll = self._next_progress = accepted
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def __enter__(self) -> Self:
        start(self._thread)
        return self

    def __exit__(self, *_: object) -> None:
        with self._change:
            self._closed = True
            self._change.notify_all()
        self._thread.join()

    @property
    def deadline(self) -> float:
        """When the lease ends for sure, counted from when its last accepted renewal was sent."""
        return self._accepted + self._settings.lease_seconds

    def write(self, event: NewEvent) -> None:
        """Have ``event`` written down soon. A newer progress takes the place of one that still waits; where many wait,
        any event takes that of the oldest of its type, which is counted.
        """
        with self._change:
            newest = self._pending[-1].type if self._pending else None
            if event.type == newest == EventType.PROGRESS:
                self._pending.pop()
            elif len(self._pending) >= MOST_PENDING:
                self._leave_out(event.type)
            self._pending.append(event)
            self._change.notify_all()

    def flush(self) -> None:
        """Return when all is written, or when it can no longer be."""
        with self._change:
            self._hurried = True
            self._change.notify_all()
            self._change.wait_for(lambda: self._lost or not (self._waiting or self._writing), self._left())
            self._hurried = False

    def retrying(self, call: Callable[[], Answer]) -> Answer:
        """Ask the store for ``call`` until it answers; raises what it raises, and what passes after the deadline. Also
        where its disk is full: what has been done would be lost, and somebody may make room.
        """
        what = f"job {self._lease.job_id}: the store is asked again"
        return persist(call, self._wait, what, tell=untold, not_soon=frozenset())

    def _wait(self, seconds: float) -> bool:
        """Wait so long, within the lease; whether that is over."""
        time.sleep(min(seconds, self._left()))
        return not self._left()

    def _left(self) -> float:
        return max(0.0, self.deadline - time.monotonic())

    def _run(self) -> None:
        pauses = Pauses(LONGEST_PAUSE_SECONDS)
        while not (self._closed or self._lost):
            try:
                self._turn()
                pauses = Pauses(LONGEST_PAUSE_SECONDS)
            except LeaseLost:
                self._give_up()
            except Exception as error:  # noqa: BLE001 - whatever a database that is away raises: it is asked until the lease is over
                log.warning("job %s: the database is away: %s", self._lease.job_id, type(error).__name__)
                with self._change:
                    self._change.wait_for(lambda: self._closed, pauses.next())

    def _turn(self) -> None:
        self._beat_if_due()
        self._poll_if_due()
        self._take()
        if self._writing is not None:
            self._write_down(self._writing)
            with self._change:
                self._writing = None
                self._change.notify_all()

    def _beat_if_due(self) -> None:
        sent = time.monotonic()
        if sent < self._next_beat:
            return
        status = self._store.heartbeat(self._lease)
        self._accepted, self._next_beat = sent, sent + self._settings.heartbeat_seconds
        self._heed(status)

    def _poll_if_due(self) -> None:
        """A look that renews nothing: a cancel should not wait for the next heartbeat."""
        if time.monotonic() < self._next_poll:
            return
        self._next_poll = time.monotonic() + POLL_SECONDS
        found = self._store.heads([self._lease.job_id]).get(self._lease.job_id)
        if found is not None:
            self._heed(found[1])

    def _heed(self, status: Status) -> None:
        if status == Status.CANCELLING and not self._cancelled:
            self._cancelled = True
            self._inbox.put(Interrupt.CANCELLED)

    def _take(self) -> None:
        """Have the next event in hand, where one may be written now; waits for that, or for what is due before."""
        with self._change:
            if not self._ready():
                self._change.wait_for(lambda: self._closed or self._ready(), self._idle_seconds())
            if self._writing is None and self._ready():
                self._writing = self._pending.popleft() if self._pending else self._tell_left_out()
                self._pace.spend(time.monotonic())

    def _leave_out(self, type: EventType) -> None:
        oldest = next((place for place, event in enumerate(self._pending) if event.type == type), None)
        if oldest is not None:
            del self._pending[oldest]
            self._left_out += 1

    def _tell_left_out(self) -> NewEvent:
        count, self._left_out = self._left_out, 0
        return new_event(EventType.LOG, LEFT_OUT.format(count=count), LogData(), "warning")

    @property
    def _waiting(self) -> bool:
        """Whether there is anything to write, if only how much was left out."""
        return bool(self._pending or self._left_out)

    def _ready(self) -> bool:
        if self._writing is not None:
            return True
        return self._waiting and (self._hurried or time.monotonic() >= self._next_write())

    def _next_write(self) -> float:
        """When what waits may be written; a progress that waits alone may still be replaced."""
        fresh = len(self._pending) == 1 and self._pending[0].type == EventType.PROGRESS
        return max(self._pace.next, self._next_progress) if fresh else self._pace.next

    def _idle_seconds(self) -> float:
        due = min(self._next_beat, self._next_poll)
        if self._waiting:
            due = min(due, self._next_write())
        return max(0.0, due - time.monotonic())

    def _write_down(self, event: NewEvent) -> None:
        try:
            self._kept = self._store.record(self._lease, event, self._kept).number
        except LeaseLost:
            raise
        except Exception as error:  # one event that cannot be kept is no reason to lose the job
            if passing(error) is not None:
                raise
            log.exception("job %s: cannot keep a %s event", self._lease.job_id, event.type)
        now = time.monotonic()
        if event.type in PROGRESS_AFTER:
            gap = progress_gap(now - self._began) if event.type == EventType.PROGRESS else 0.0
            self._next_progress = now + max(PROGRESS_AFTER[event.type], gap)

    def _give_up(self) -> None:
        with self._change:
            self._lost = True
            self._change.notify_all()
        self._inbox.put(Interrupt.LEASE_LOST)
