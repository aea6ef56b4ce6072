"""Sends wake-ups in a thread of its own: a broker that hangs holds up neither a job nor the end of a worker."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Waker:
    """Calls ``send``, which must not raise, soon after it is asked to; once for all who asked meanwhile."""

    def __init__(self, send: Callable[[], None]) -> None:
        self._send = send
        self._change = threading.Condition()
        self._asked = self._closed = False
        self._thread = threading.Thread(target=self._run, name="waker", daemon=True)
        self._thread.start()

    def ask(self) -> None:
        with self._change:
            self._asked = True
            self._change.notify_all()

    def close(self, seconds: float) -> None:
        """Send what was asked for, within so many seconds; what hangs for longer is left behind."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        self._thread.join(seconds)

    def _run(self) -> None:
        while self._due():
            self._send()

    def _due(self) -> bool:
        """Whether to send once more; waits for that, or for the end."""
        with self._change:
            self._change.wait_for(lambda: self._asked or self._closed)
            due, self._asked = self._asked, False
            return due
