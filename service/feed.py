"""What is new, for everyone who watches: one question to the store a tick, however many they are."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field

import structlog
from sse_starlette.sse import AppStatus
from starlette.concurrency import run_in_threadpool

from api_schemas.events import Event
from api_schemas.jobs import Status
from store.jobs import JobStore

log = structlog.get_logger("layercut.feed")

PAGE = 200
RECENT = 500
#: Of what is kept of one job: in a usual one, all that fits into ``RECENT``.
RECENT_BYTES = 2 * 2**20


class _Recent:
    """The newest events of one job, in their order: at most ``RECENT``, and no more than have ``RECENT_BYTES``."""

    def __init__(self) -> None:
        self._events: deque[tuple[Event, int]] = deque()
        self._bytes = 0

    def extend(self, events: Iterable[Event]) -> None:
        for event in events:
            size = len(event.model_dump_json())
            self._events.append((event, size))
            self._bytes += size
        while len(self._events) > RECENT or self._bytes > RECENT_BYTES:
            self._bytes -= self._events.popleft()[1]

    def after(self, number: int) -> list[Event] | None:
        """Those past ``number``, where it has them all."""
        if not self._events or self._events[0][0].number > number + 1:
            return None
        return [event for event, _ in self._events if event.number > number]


@dataclass(eq=False)
class _Channel:
    """One watched job. ``bell`` is rung, and replaced by a new one, when ``head`` moves."""

    head: int
    status: Status
    recent: _Recent = field(default_factory=_Recent)
    bell: asyncio.Event = field(default_factory=asyncio.Event)
    watchers: int = 0

    def ring(self) -> None:
        self.bell.set()
        self.bell = asyncio.Event()

    def after(self, number: int) -> list[Event] | None:
        """The events past ``number`` where ``recent`` has them all, else None."""
        return [] if number >= self.head else self.recent.after(number)


class Feed:
    def __init__(self, store: JobStore, seconds: float) -> None:
        self._store = store
        self._seconds = seconds
        self._channels: dict[str, _Channel] = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._tick_for_ever(), name="feed")
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def head(self, own: JobStore, job_id: str) -> tuple[int, Status]:
        """Number of the job's last event, and its status; raises ``job_not_found`` for what is not in ``own``."""
        heads = await run_in_threadpool(own.heads, [job_id])
        if job_id not in heads:
            # The store words the refusal.
            job = await run_in_threadpool(own.get, job_id)
            return 0, job.status
        return heads[job_id]

    async def events(self, job_id: str, after: int, head: tuple[int, Status]) -> AsyncIterator[Event]:
        """Every event past ``after``, as they come; ends with the last one of a job that has ended. An earlier terminal
        event is of a job that was asked for again. ``head`` is a recent one, and says that the caller may watch.
        """
        with self._watch(job_id, head) as channel:
            while True:
                # Taken before the look, so that a ring between look and wait is not missed.
                bell = channel.bell
                page = await self._page(job_id, channel, after)
                for event in page:
                    yield event
                    after = event.number
                    if event.number >= channel.head and channel.status.terminal:
                        return
                if not page:
                    if channel.status.terminal:
                        return
                    await bell.wait()

    async def changed(self, own: JobStore, job_id: str, seconds: float) -> None:
        """Return when the job has a new event, when ``seconds`` have passed, or at once if it (or the server) ends."""
        head = await self.head(own, job_id)
        if head[1].terminal:
            return
        with self._watch(job_id, head) as channel, contextlib.suppress(TimeoutError):
            if (channel.head, channel.status) == head:
                await asyncio.wait_for(channel.bell.wait(), seconds)

    async def _page(self, job_id: str, channel: _Channel, after: int) -> list[Event]:
        recent = channel.after(after)
        if recent is not None:
            return recent
        page, _ = await run_in_threadpool(self._store.events, job_id, after, PAGE)
        return page

    @contextlib.contextmanager
    def _watch(self, job_id: str, head: tuple[int, Status]) -> Iterator[_Channel]:
        channel = self._channels.setdefault(job_id, _Channel(*head))
        if channel.status.terminal and head[0] > channel.head:
            channel.status = Status.QUEUED  # it was asked for again: the next tick looks
        channel.watchers += 1
        try:
            yield channel
        finally:
            channel.watchers -= 1
            if not channel.watchers:
                self._channels.pop(job_id, None)

    async def _tick_for_ever(self) -> None:
        # sse-starlette learns of the server's end by itself, and closes the streams; who waits for a change is let go.
        while not AppStatus.should_exit:
            await asyncio.sleep(self._seconds)
            try:
                await self._tick()
            except Exception:  # the database may be away for a while; watchers wait and miss nothing
                log.exception("feed_failed")
        for channel in self._channels.values():
            channel.ring()

    async def _tick(self) -> None:
        watched = [job_id for job_id, channel in self._channels.items() if not channel.status.terminal]
        if not watched:
            return
        heads = await run_in_threadpool(self._store.heads, watched)
        for job_id, (number, status) in heads.items():
            channel = self._channels.get(job_id)
            if channel is not None and (number, status) != (channel.head, channel.status):
                await self._refresh(job_id, channel, number, status)

    async def _refresh(self, job_id: str, channel: _Channel, number: int, status: Status) -> None:
        """Fetch what is new once, for all the watchers of the job."""
        new, _ = await run_in_threadpool(self._store.events, job_id, channel.head, RECENT)
        channel.recent.extend(new)
        channel.head = new[-1].number if new else number
        # After a burst longer than one read, the rest comes with the next tick: the status waits for its event.
        if channel.head >= number:
            channel.status = status
        channel.ring()
