"""Whether the process can still do what nearly every request needs: take a thread of the pool and give it back."""

from __future__ import annotations

from anyio import move_on_after
from anyio.to_thread import run_sync

#: A pool that has no thread free for this long is stuck: a read of the database takes milliseconds.
SECONDS = 1.0


async def threads_answer() -> bool:
    """Whether a thread of the pool did nothing, and came back, within ``SECONDS``."""
    with move_on_after(SECONDS):
        await run_sync(_nothing, abandon_on_cancel=True)
        return True
    return False


def _nothing() -> None:
    return None
