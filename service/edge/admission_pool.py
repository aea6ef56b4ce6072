"""Threads of their own for requests that look into models and data, so that the others always find one.

FastAPI runs what may block in one pool of 40 threads. A look into a model takes milliseconds, seconds where it is
hashed, and where a disk hangs, for ever: forty of those would leave no thread to read a job's row. So they have a
small pool here, and a time within which they are answered. A thread that is stuck keeps its place (Python cannot stop
it), so that stuck looks cost this pool and no other.

What waits for a thread holds its request in memory: as many may as there are places, fewer of one tenant. Tenants are
served in turn, and where there may be several none is given the last thread: what one of them asks for may hang.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from starlette.requests import ClientDisconnect

from api_schemas.errors import LayercutError
from store.tenants import QuotaExceeded

P = ParamSpec("P")
R = TypeVar("R")

RETRY_AFTER_SECONDS = 5


@dataclass(frozen=True)
class AdmissionLimits:
    """``seconds`` to wait and take; ``waiting`` in all for one of the ``threads``, and ``waiting_per_tenant`` of it.

    ``one_tenant``: there are no others to leave threads and places to.
    """

    threads: int
    seconds: float
    waiting: int
    waiting_per_tenant: int
    one_tenant: bool = False

    @property
    def threads_of_one(self) -> int:
        return self.threads if self.one_tenant else max(1, self.threads - 1)


@dataclass(frozen=True, eq=False)
class _Look:
    tenant: str
    work: Callable[[], Any]
    answer: asyncio.Future[Any]


class AdmissionPool:
    """Of one event loop: all but the looks themselves runs there, so that nothing needs a lock."""

    def __init__(self, limits: AdmissionLimits) -> None:
        self._limits = limits
        self._threads = ThreadPoolExecutor(limits.threads, thread_name_prefix="admission")
        self._running: Counter[str] = Counter()
        #: By tenant, the one whose turn it is first.
        self._waiting: OrderedDict[str, deque[_Look]] = OrderedDict()

    @property
    def waiting(self) -> int:
        return sum(map(len, self._waiting.values()))

    async def run(
        self,
        tenant: str,
        gone: Callable[[], Awaitable[object]],
        look: Callable[P, R],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """What ``look`` returns or raises. ``gone`` returns when nobody waits for the answer any more.

        Raises ``too_busy`` where no place is free, or where it did not begin and end in time; ``quota_exceeded`` where
        the tenant has its share of places; ``ClientDisconnect``. ``look`` must change nothing: it may go on after its
        caller was told that it came to nothing.
        """
        self._check_room(tenant)
        loop, work = asyncio.get_running_loop(), functools.partial(look, *args, **kwargs)
        context = contextvars.copy_context()
        asked = _Look(tenant, lambda: context.run(work), loop.create_future())
        self._waiting.setdefault(tenant, deque()).append(asked)
        self._start()
        leaving = asyncio.ensure_future(gone())
        try:
            await asyncio.wait(
                (asked.answer, leaving), timeout=self._limits.seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if asked.answer.done():
                answer: R = asked.answer.result()
                return answer
            if leaving.done():
                raise ClientDisconnect
            text = f"the model and the data were not looked at within {self._limits.seconds:g} s; try again later"
            raise LayercutError("too_busy", text)
        finally:
            leaving.cancel()
            asked.answer.cancel()
            self._give_up(asked)

    def close(self) -> None:
        """Take no more; what runs is not waited for."""
        self._waiting.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _check_room(self, tenant: str) -> None:
        own = len(self._waiting.get(tenant, ()))
        if own >= self._limits.waiting_per_tenant and not self._limits.one_tenant:
            text = f"{own} of your requests wait already for a look into models and data, the most that may"
            raise QuotaExceeded(f"{text}: ask again in {RETRY_AFTER_SECONDS} seconds", RETRY_AFTER_SECONDS)
        if self.waiting >= self._limits.waiting:
            text = f"{self.waiting} requests wait already for a look into models and data; try again later"
            raise LayercutError("too_busy", text)

    def _start(self) -> None:
        """Give the threads that are free to those whose turn it is."""
        while self._running.total() < self._limits.threads and (asked := self._next()) is not None:
            try:
                done = self._threads.submit(_look, asked)
            except (
                RuntimeError
            ):  # the host has no thread to give, or the service ends; the executor keeps it all the same
                self._refuse(asked)
                continue
            self._running[asked.tenant] += 1
            done.add_done_callback(functools.partial(self._tell, asyncio.get_running_loop(), asked))

    def _refuse(self, asked: _Look) -> None:
        if not asked.answer.done():
            text = "no thread could be started to look into the model and the data; try again later"
            asked.answer.set_exception(LayercutError("too_busy", text))

    def _next(self) -> _Look | None:
        able = [name for name in self._waiting if self._running[name] < self._limits.threads_of_one]
        if not able:
            return None
        # Of those with as few threads, the first has waited for its turn for longest.
        tenant = min(able, key=lambda name: self._running[name])
        asked = self._waiting[tenant].popleft()
        self._waiting.move_to_end(tenant)
        self._forget_empty(tenant)
        return asked

    def _tell(self, loop: asyncio.AbstractEventLoop, asked: _Look, done: Future[Any]) -> None:
        """In the look's thread. A loop that has ended has nobody to tell."""
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(self._end, asked, done)

    def _end(self, asked: _Look, done: Future[Any]) -> None:
        self._running -= Counter((asked.tenant,))
        if not asked.answer.done() and not done.cancelled():
            error = done.exception()
            if error is None:
                asked.answer.set_result(done.result())
            else:
                asked.answer.set_exception(error)
        self._start()

    def _give_up(self, asked: _Look) -> None:
        """Free the place of one that has not begun: it never will."""
        with contextlib.suppress(KeyError, ValueError):
            self._waiting[asked.tenant].remove(asked)
            self._forget_empty(asked.tenant)

    def _forget_empty(self, tenant: str) -> None:
        if not self._waiting[tenant]:
            del self._waiting[tenant]


def _look(asked: _Look) -> Any:
    return None if asked.answer.done() else asked.work()
