"""Whether a server has fallen silent: from then on one thread waits for it, and not each that has a question."""

from __future__ import annotations

import threading
from collections.abc import Callable

#: What it has to answer in, for the caller that has it asked, and for those who come meanwhile.
ASKING_SECONDS, ASKED_SECONDS = 0.4, 0.05


class Silence:
    """Safe to share between threads. ``answers`` asks the server, and takes its time."""

    def __init__(self, answers: Callable[[], bool]) -> None:
        self._answers = answers
        self._silent = False
        self._lock = threading.Lock()
        self._asking = threading.Thread()

    def begin(self) -> None:
        """From now on it counts as silent, until it answers."""
        self._silent = True

    @property
    def holds(self) -> bool:
        """Whether it counts as silent, without asking."""
        return self._silent

    def is_over(self) -> bool:
        """Whether the server may be asked: it answers, as far as is known, or does so now."""
        if self._silent:
            asking, seconds = self._asked()
            asking.join(seconds)
        return not self._silent

    def _asked(self) -> tuple[threading.Thread, float]:
        with self._lock:
            if self._asking.is_alive():
                return self._asking, ASKED_SECONDS
            self._asking = threading.Thread(target=self._ask, name="database", daemon=True)
            self._asking.start()
            return self._asking, ASKING_SECONDS

    def _ask(self) -> None:
        if self._answers():
            self._silent = False
