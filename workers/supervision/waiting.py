"""What an attempt waits for: the next thing it is told, the clock that runs out first, work beside it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from queue import Empty
from threading import Event

from sources.staging import Staged
from workers.protocol import CacheRequest
from workers.settings import WorkerSettings
from workers.supervision.cache_server import CacheServer
from workers.supervision.endings import SCRATCH_GONE, Ending, Interrupted, Lost
from workers.supervision.lease_session import Interrupt, LeaseSession
from workers.supervision.runner_process import RunnerProcess
from workers.supervision.side_work import Done, SideWork
from workers.supervision.watchdog import Watchdog

#: Between two blocks of what is sent it looks whether anybody waits; what hangs within one is left behind.
LEAVE_SECONDS = 5.0
#: How often it is looked whether the runner still has what it works with.
LOOK_SECONDS = 1.0
#: Whoever did not look for so much longer was stopped itself, or its machine was: it has heard nothing meanwhile.
ASLEEP_SECONDS = 2.0


class Waiting:
    """Of one attempt, whose own time ``ends`` then, by ``time.monotonic``."""

    def __init__(
        self,
        runner: RunnerProcess,
        session: LeaseSession,
        cache_server: CacheServer,
        settings: WorkerSettings,
        *,
        ends: float,
    ) -> None:
        self._runner, self._session, self._cache_server = runner, session, cache_server
        self._grace = settings.kill_grace_seconds
        self._ends = self._latest = ends
        #: The worker is to stop, and what is under way has some time to end.
        self._stops = False
        self.watchdog, self._next_look = Watchdog(settings.no_progress_seconds), math.inf

    @property
    def late(self) -> bool:
        """Whether it has more time than its own."""
        return self._latest > self._ends

    def extend(self, seconds: float) -> None:
        """It has so many seconds from now at least."""
        self._latest = max(self._ends, time.monotonic() + seconds)

    def shorten(self, seconds: float) -> None:
        """Of what it has beyond its own time, no more than so many seconds are left."""
        self._latest = min(self._latest, max(self._ends, time.monotonic() + seconds))

    def next(self, *, watched: bool = False) -> Ending | CacheRequest | Staged:
        """What comes next, or the clock that ran out first. The lease's own end moves while it is renewed.

        ``watched``: the runner is at work, and what it needs for that is looked after.
        """
        while True:
            if watched and (lost := self._look()) is not None:
                return lost
            left, why = self._left(watched)
            if left <= 0:
                return why()
            try:
                return self._runner.inbox.get(timeout=min(left, LOOK_SECONDS))  # type: ignore[return-value]
            except Empty:
                continue

    def beside(self, work: Callable[[Event], None], leave_seconds: float = LEAVE_SECONDS) -> None:
        """Have ``work`` done. Raises what it raises, and ``Interrupted`` once nobody waits for it: where the worker
        is to stop, it may take as long as a runner.
        """
        said: object = None
        with SideWork(work, self._runner.inbox, leave_seconds) as side:
            while not (isinstance(said, Done) and said.work is side):
                said = self.next()
                if said is Interrupt.STOPPING:
                    self._stops = True
                    self._latest = min(self._latest, time.monotonic() + self._grace)
                elif isinstance(said, Interrupt):
                    raise Interrupted(Interrupt.STOPPING if self._stops and said is Interrupt.TIMEOUT else said)
        if said.error is not None:
            raise said.error

    def _left(self, watched: bool) -> tuple[float, Callable[[], Ending]]:
        """How many seconds until the first clock runs out, and what that means."""
        clocks: list[tuple[float, Callable[[], Ending]]] = [
            (self._latest, lambda: Interrupt.TIMEOUT),
            (self._session.deadline, lambda: Interrupt.LEASE_LOST),
        ]
        if watched:
            stalls = self.watchdog.deadline(self._cache_server.answered)
            clocks.append((stalls, lambda: Lost.by(self.watchdog.stalled())))
        at, why = min(clocks, key=lambda clock: clock[0])
        return at - time.monotonic(), why

    def _look(self) -> Lost | None:
        """Every second: whether the folder that the runner works in is still there."""
        now, due = time.monotonic(), self._next_look
        if now < due < math.inf:
            return None
        self._next_look = now + LOOK_SECONDS
        if now > due + ASLEEP_SECONDS:
            self.watchdog.spare(now - due)
        return Lost(SCRATCH_GONE) if self._runner.scratch.gone else None
