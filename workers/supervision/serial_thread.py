"""Work that is done beside an attempt, which must stay able to heed its lease and to kill its runner."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

from workers.supervision.threads import start


class SerialThread:
    """Does one thing after the other, in one thread however much is asked. What is put must not raise.

    The thread starts with the first thing: ``put`` raises ``NoThread`` where the host has none to give. Only one
    thread may put.
    """

    def __init__(self, name: str) -> None:
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def put(self, work: Callable[[], None]) -> None:
        if self._thread.ident is None:
            start(self._thread)
        self._work.put(work)

    def finish(self, seconds: float | None) -> None:
        """Do what was put, and nothing after it; returns after ``seconds`` at the latest."""
        self._work.put(None)
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
