"""One job's log, for all who watch it live: its newest pieces are read once."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from starlette.concurrency import run_in_threadpool

from api_schemas.errors import LayercutError
from api_schemas.logs import LogPiece
from store.jobs import Head, JobStore

#: Of one read, and of what is kept of one job's log; in bytes.
PAGE_BYTES = RECENT_BYTES = 256 * 1024


@dataclass(eq=False)
class LogChannel:
    """``end`` is how far the pieces were read, ``ended`` whether no more will come after it. ``bell`` is rung, and
    replaced by a new one, when either moves.
    """

    end: int
    ended: bool
    bell: asyncio.Event = field(default_factory=asyncio.Event)
    watchers: int = 0
    _recent: deque[LogPiece] = field(default_factory=deque)

    def ring(self) -> None:
        self.bell.set()
        self.bell = asyncio.Event()

    async def refresh(self, store: JobStore, job_id: str, head: Head) -> None:
        """Read what is new, once for all. After a burst longer than one read, the rest comes with the next tick."""
        if head.log_end > self.end:
            try:
                page = await run_in_threadpool(store.log, job_id, self.end, PAGE_BYTES)
            except LayercutError:  # it was deleted meanwhile
                self.end = head.log_end
            else:
                self._keep(page.data)
                self.end = page.next_offset
        self.ended = head.status.terminal and self.end >= head.log_end
        self.ring()

    def after(self, offset: int) -> list[LogPiece] | None:
        """The pieces from ``offset`` on, where all of them are at hand, else None."""
        if offset >= self.end:
            return []
        found = [piece for piece in self._recent if piece.offset >= offset]
        return found if found and found[0].offset == offset else None

    def moved(self, head: Head) -> bool:
        return head.log_end > self.end or (head.status.terminal and not self.ended)

    def _keep(self, pieces: list[LogPiece]) -> None:
        if pieces and self._recent and self._recent[-1].end != pieces[0].offset:
            self._recent.clear()  # the oldest went before they were read
        self._recent.extend(pieces)
        while self._recent and self.end_of_recent - self._recent[0].offset > RECENT_BYTES:
            self._recent.popleft()

    @property
    def end_of_recent(self) -> int:
        return self._recent[-1].end
