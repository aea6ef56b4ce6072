"""Looks for work at a slow pace, whether or not a broker tells of it: a wake-up only spares the wait."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable

log = logging.getLogger("layercut.poller")


class Poller:
    """Calls ``work`` every ``seconds`` or so, and again at once while it answers that it did some, until it is closed.

    Whatever ``work`` raises is logged when it begins, and when it is over.
    """

    def __init__(self, work: Callable[[], bool], seconds: float) -> None:
        self._work, self._seconds = work, seconds
        self._ended = threading.Event()
        self._failing: str | None = None
        self._thread = threading.Thread(target=self._run, name="poller", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Returns when ``work`` has returned."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            if not self._worked():
                # By chance, so that workers that started together do not all ask at once.
                self._ended.wait(self._seconds * random.uniform(0.5, 1.5))

    def _worked(self) -> bool:
        try:
            worked = self._work()
        except Exception as error:  # noqa: BLE001 - a database that is away, a runner that cannot be started: another time
            self._tell(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
            return False
        self._tell(None)
        return worked

    def _tell(self, failing: str | None) -> None:
        if (failing is None) != (self._failing is None):
            log.warning("cannot look for work: %s", failing) if failing else log.warning("looking for work again")
        self._failing = failing
