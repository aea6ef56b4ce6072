"""Whether a worker's loops still turn. A job may be slow, and a database away: a loop that goes on says so itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Pulse:
    """What each loop says of itself: that it turned, and when it will have turned again. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def beat(self, loop: str, within: float) -> None:
        """The loop turns, and will again within so many seconds, unless it rests."""
        now = self._clock()
        with self._lock:
            self._due[loop] = (now, now + within)

    def rest(self, loop: str) -> None:
        """The loop has ended, as it should."""
        with self._lock:
            self._due.pop(loop, None)

    def stuck(self) -> dict[str, float]:
        """The loops that should have turned by now, and how many seconds ago they did."""
        now = self._clock()
        with self._lock:
            return {loop: round(now - turned, 1) for loop, (turned, due) in self._due.items() if due < now}
