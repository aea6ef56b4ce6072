"""What is new, for everyone who watches: one question to the store a tick, however many they are."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import structlog
from starlette.concurrency import run_in_threadpool

from api_schemas.errors import LayercutError
from api_schemas.events import Event
from api_schemas.jobs import Status
from api_schemas.logs import LogPage, LogPiece
from service.failures import log_failure
from service.log_channel import PAGE_BYTES, LogChannel
from store.jobs import Head, JobStore
from store.passing import passing

log = structlog.get_logger("layercut.feed")

Answer = TypeVar("Answer")

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
        self._logs: dict[str, LogChannel] = {}
        self._stopped = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._tick_for_ever(), name="feed")
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    @property
    def watchers(self) -> int:
        """Who watches, or waits for a change, now."""
        channels: list[_Watched] = [*self._channels.values(), *self._logs.values()]
        return sum(channel.watchers for channel in channels)

    def stop(self) -> None:
        """The server ends: whoever watches or waits is let go at once, and comes again elsewhere."""
        if self._stopped:
            return
        self._stopped = True
        for channel in self._channels.values():
            channel.ring()
        for of_log in self._logs.values():
            of_log.ring()

    async def head(self, own: JobStore, job_id: str) -> Head:
        """How far the job is; raises ``job_not_found`` for what is not in ``own``."""
        heads = await run_in_threadpool(own.heads, [job_id])
        if job_id not in heads:
            # The store words the refusal.
            job = await run_in_threadpool(own.get, job_id)
            return Head(0, job.status, 0)
        return heads[job_id]

    async def events(self, job_id: str, after: int, head: Head) -> AsyncIterator[Event]:
        """Every event past ``after``, as they come; ends with the last one of a job that has ended. An earlier terminal
        event is of a job that was asked for again. ``head`` is a recent one, and says that the caller may watch.
        """
        with self._watch(job_id, head) as channel:
            while True:
                # Taken before the look, so that a ring between look and wait is not missed.
                bell = channel.bell
                try:
                    page = await self._page(job_id, channel, after)
                except LayercutError:  # it was deleted meanwhile, or the server ends
                    return
                for event in page:
                    yield event
                    after = event.number
                    if event.number >= channel.head and channel.status.terminal:
                        return
                if not page:
                    if channel.status.terminal or self._stopped:
                        return
                    await bell.wait()

    async def log(self, job_id: str, offset: int, head: Head) -> AsyncIterator[LogPiece]:
        """The log from ``offset`` on, as it is written; ends when the job has ended and all is told. ``head`` as for
        ``events``.
        """
        with self._watch_log(job_id, head) as channel:
            while True:
                bell = channel.bell
                try:
                    page = await self._log_page(job_id, channel, offset)
                except LayercutError:  # as above
                    return
                for piece in page:
                    yield piece
                    offset = piece.end
                if not page:
                    if channel.ended or self._stopped:
                        return
                    await bell.wait()

    async def changed(self, own: JobStore, job_id: str, seconds: float) -> None:
        """Return when the job has a new event, when ``seconds`` have passed, or at once if it (or the server) ends."""
        head = await self.head(own, job_id)
        if head.status.terminal or self._stopped:
            return
        with self._watch(job_id, head) as channel, contextlib.suppress(TimeoutError):
            if (channel.head, channel.status) == head[:2]:
                await asyncio.wait_for(channel.bell.wait(), seconds)

    async def _page(self, job_id: str, channel: _Channel, after: int) -> list[Event]:
        recent = channel.after(after)
        if recent is not None:
            return recent
        page, _ = await self._asked(self._store.events, job_id, after, PAGE)
        return page

    async def _log_page(self, job_id: str, channel: LogChannel, offset: int) -> list[LogPiece]:
        recent = channel.after(offset)
        if recent is not None:
            return recent
        page: LogPage = await self._asked(self._store.log, job_id, offset, PAGE_BYTES)
        return page.data

    async def _asked(self, ask: Callable[..., Answer], *given: Any) -> Answer:
        """What the store answers; while the database is away, whoever watches waits, and misses nothing.

        Raises ``LayercutError`` where the server ends meanwhile, too.
        """
        while True:
            try:
                return await run_in_threadpool(ask, *given)
            except Exception as error:
                away = passing(error)
                if away is None:
                    raise
                if self._stopped:
                    raise away from error
            await asyncio.sleep(self._seconds)

    @contextlib.contextmanager
    def _watch(self, job_id: str, head: Head) -> Iterator[_Channel]:
        channel = self._channels.setdefault(job_id, _Channel(head.number, head.status))
        if channel.status.terminal and head.number > channel.head:
            channel.status = Status.QUEUED  # it was asked for again: the next tick looks
        with _counted(channel, self._channels, job_id):
            yield channel

    @contextlib.contextmanager
    def _watch_log(self, job_id: str, head: Head) -> Iterator[LogChannel]:
        channel = self._logs.setdefault(job_id, LogChannel(head.log_end, head.status.terminal))
        channel.ended = channel.ended and head.status.terminal  # as above
        with _counted(channel, self._logs, job_id):
            yield channel

    async def _tick_for_ever(self) -> None:
        while not self._stopped:
            await asyncio.sleep(self._seconds)
            try:
                await self._tick()
            except Exception as error:  # noqa: BLE001 - the database may be away; watchers wait and miss nothing
                log_failure(log, "feed_failed", error)

    async def _tick(self) -> None:
        watched = {job_id for job_id, channel in self._channels.items() if not channel.status.terminal}
        watched |= {job_id for job_id, channel in self._logs.items() if not channel.ended}
        if not watched:
            return
        heads = await run_in_threadpool(self._store.heads, watched)
        self._let_go(watched - heads.keys())
        for job_id, head in heads.items():
            channel, of_log = self._channels.get(job_id), self._logs.get(job_id)
            if channel is not None and head[:2] != (channel.head, channel.status):
                await self._refresh(job_id, channel, head.number, head.status)
            if of_log is not None and of_log.moved(head):
                await of_log.refresh(self._store, job_id, head)

    def _let_go(self, deleted: Iterable[str]) -> None:
        """Nothing more will come of these jobs, nor an event that says so."""
        for job_id in deleted:
            if (channel := self._channels.get(job_id)) is not None:
                channel.status = Status.CANCELLED
                channel.ring()
            if (of_log := self._logs.get(job_id)) is not None:
                of_log.ended = True
                of_log.ring()

    async def _refresh(self, job_id: str, channel: _Channel, number: int, status: Status) -> None:
        """Fetch what is new once, for all the watchers of the job."""
        new, _ = await run_in_threadpool(self._store.events, job_id, channel.head, RECENT)
        channel.recent.extend(new)
        channel.head = new[-1].number if new else number
        # After a burst longer than one read, the rest comes with the next tick: the status waits for its event.
        if channel.head >= number:
            channel.status = status
        channel.ring()


class _Watched(Protocol):
    watchers: int


@contextlib.contextmanager
def _counted(channel: _Watched, channels: dict[str, Any], job_id: str) -> Iterator[None]:
    """The channel goes with the last who watches it."""
    channel.watchers += 1
    try:
        yield
    finally:
        channel.watchers -= 1
        if not channel.watchers:
            channels.pop(job_id, None)
