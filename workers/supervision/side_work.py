"""Long work beside an attempt, which must stay able to heed a cancel, its clock and its lease meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from workers.supervision.inbox import Inbox
from workers.supervision.threads import start


@dataclass(frozen=True)
class Done:
    """``work`` is over; ``error`` is what it raised."""

    work: SideWork
    error: Exception | None


class SideWork:
    """Does ``work`` in a thread, and puts ``Done`` into ``inbox``. Use as a context manager: at its end ``work``, which
    is given the event of that, is told to stop, and left behind where it does not within ``leave_seconds``.

    Raises ``NoThread`` where the host has none to give.
    """

    def __init__(self, work: Callable[[threading.Event], None], inbox: Inbox, leave_seconds: float) -> None:
        self._work, self._inbox, self._leave_seconds = work, inbox, leave_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="side-work", daemon=True)

    def __enter__(self) -> Self:
        start(self._thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(self._leave_seconds)

    def _run(self) -> None:
        error: Exception | None = None
        try:
            self._work(self._stopped)
        except Exception as raised:  # noqa: BLE001 - whoever waits for it is to have it
            error = raised
        self._inbox.put(Done(self, error))
