"""A worker says that it is there and what it does; an operator sees it, and what locks its runners in."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue

from api_schemas.workers import DRAINING, About, SandboxReport
from store.workers import Doing, WorkerStore
from workers.supervision.pulse import Pulse

log = logging.getLogger("layercut.presence")

#: The gateway counts a worker as living for several of these.
SEEN_SECONDS = 20.0
#: A database that hangs is waited for; a thread that is stuck is not this slow.
TURN_SECONDS = 120.0

LOOP = "presence"


def nothing() -> Doing | None:
    """What a worker does that has no job."""
    return None


class Presence:
    """Announces the worker when it is made, until it is closed. A database that is away is told another time: what it
    is told is always all that holds then.

    ``doing`` answers what the worker does.
    """

    def __init__(
        self,
        store: WorkerStore,
        name: str,
        sandbox: SandboxReport,
        about: About | None = None,
        *,
        doing: Callable[[], Doing | None] = nothing,
        pulse: Pulse | None = None,
    ) -> None:
        self._store, self._name, self._doing, self._pulse = store, name, doing, pulse or Pulse()
        self._sandbox = sandbox
        self._announce = partial(store.announce, name, sandbox, about)
        self._untold: About | None = None
        self._full: str | None = None
        self._draining = self._leaving = False
        # Reentrant, so that a signal handler may put something here.
        self._news: SimpleQueue[None] = SimpleQueue()
        self._announce()
        self._thread = threading.Thread(target=self._keep_telling, name=LOOP, daemon=True)
        self._thread.start()

    def changed(self) -> None:
        """What the worker does is another thing now: tell it soon."""
        self._news.put(None)

    def pause(self, reason: str | None) -> None:
        """Say that it takes no jobs, and why; None: that it does again."""
        self._full = reason
        self.changed()

    def describe(self, about: About) -> None:
        """The worker has learnt more of what it is."""
        self._announce = partial(self._store.announce, self._name, self._sandbox, about)
        self._untold = about
        self.changed()

    def drain(self) -> None:
        """The worker was told to stop. Safe in a signal handler."""
        self._draining = True
        self.changed()

    def close(self) -> None:
        self._leaving = True
        self.changed()
        self._thread.join(timeout=5)
        self._pulse.rest(LOOP)
        self._tell(lambda: self._store.leave(self._name))

    def _keep_telling(self) -> None:
        while True:
            self._pulse.beat(LOOP, TURN_SECONDS)
            with suppress(Empty):
                self._news.get(timeout=SEEN_SECONDS)
            if self._leaving:
                return
            self._tell(self._say)

    def _say(self) -> None:
        # Forgotten by a worker that started while this one was frozen. One that is leaving was not forgotten.
        if not self._seen() and not self._leaving:
            self._announce()
            self._seen()
        if (about := self._untold) is not None:
            self._store.describe(self._name, about)
            if self._untold is about:
                self._untold = None

    def _seen(self) -> bool:
        paused_reason = DRAINING if self._draining else self._full
        return self._store.seen(self._name, self._doing(), paused_reason)

    def _tell(self, what: Callable[[], object]) -> None:
        try:
            what()
        except Exception as error:  # noqa: BLE001 - whatever a database that is away raises
            log.warning("cannot tell the database that this worker lives: %s", type(error).__name__)
