"""Whether the process can still do what nearly every request needs: take a thread of the pool and give it back."""

from __future__ import annotations

import asyncio
import time

from anyio.to_thread import run_sync

#: How long a thread is waited for before an answer is given.
SECONDS = 1.0
#: A pool that has no thread free for this long is stuck. A database that hangs holds all of them for less, and no
#: restart would mend it.
STUCK_SECONDS = 10.0


class Liveness:
    """Of one event loop."""

    def __init__(self, stuck_seconds: float = STUCK_SECONDS) -> None:
        self._stuck_seconds = stuck_seconds
        self._asked: asyncio.Task[None] | None = None
        self._since = 0.0

    async def threads_answer(self) -> bool:
        """Whether a thread of the pool did nothing, and came back, or is waited for since not long ago.

        False where the system gives us no thread.
        """
        if self._asked is None or self._asked.done():
            self._asked, self._since = asyncio.create_task(run_sync(_nothing)), time.monotonic()
        await asyncio.wait({self._asked}, timeout=SECONDS)
        if self._asked.done():
            return self._asked.exception() is None
        return time.monotonic() - self._since < self._stuck_seconds


def _nothing() -> None:
    return None
