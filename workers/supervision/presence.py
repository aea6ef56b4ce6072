"""A worker says that it is there, with a job and without; an operator sees it, and what locks its runners in."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial

from api_schemas.workers import SandboxReport
from store.workers import WorkerStore

log = logging.getLogger("layercut.presence")

#: The gateway counts a worker as living for several of these.
SEEN_SECONDS = 20.0


class Presence:
    """Announces the worker when it is made, until it is closed. A database that is away is told another time."""

    def __init__(self, store: WorkerStore, name: str, sandbox: SandboxReport) -> None:
        self._store, self._name = store, name
        self._ended = threading.Event()
        store.announce(name, sandbox)
        self._thread = threading.Thread(target=self._keep_telling, name="presence", daemon=True)
        self._thread.start()

    def pause(self, reason: str | None) -> None:
        """Say that it takes no jobs, and why; None: that it does again."""
        self._tell(partial(self._store.pause, reason=reason))

    def close(self) -> None:
        self._ended.set()
        self._thread.join(timeout=5)
        self._tell(self._store.leave)

    def _keep_telling(self) -> None:
        while not self._ended.wait(SEEN_SECONDS):
            self._tell(self._store.seen)

    def _tell(self, what: Callable[[str], None]) -> None:
        try:
            what(self._name)
        except Exception as error:  # noqa: BLE001 - whatever a database that is away raises
            log.warning("cannot tell the database that this worker lives: %s", type(error).__name__)
