"""Where figures are drawn: one thread of their own, since the library is slow and not made for several.

What was drawn is kept, as long as there is room: by what it was drawn from, so that nothing stale is ever shown.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from api_schemas.errors import LayercutError

#: Figures that wait, of all and of one tenant; and the bytes of those that are kept.
WAITING, WAITING_OF_ONE = 32, 16
KEPT_BYTES = 32 * 2**20


class Drawn(NamedTuple):
    content: bytes
    etag: str


class DrawingRoom:
    """Of one event loop: all but the drawing itself runs there, so that nothing needs a lock."""

    def __init__(self, waiting: int = WAITING, waiting_of_one: int = WAITING_OF_ONE) -> None:
        self._most, self._most_of_one = waiting, waiting_of_one
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="figures")
        self._waiting: Counter[str] = Counter()
        self._under_way: dict[Hashable, asyncio.Future[Drawn]] = {}
        self._kept: OrderedDict[Hashable, Drawn] = OrderedDict()
        self._bytes = 0

    async def draw(self, tenant: str, key: Hashable, make: Callable[[], bytes]) -> Drawn:
        """What ``make`` returns, or returned for the same ``key``; raises what it raises, and ``too_busy`` where too
        many wait.
        """
        if (kept := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return kept
        under_way = self._under_way.get(key)
        if under_way is None:
            under_way = self._begin(tenant, key, make)
        # Whoever leaves does not take it away from those who wait for the same.
        return await asyncio.shield(under_way)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _begin(self, tenant: str, key: Hashable, make: Callable[[], bytes]) -> asyncio.Future[Drawn]:
        if self._waiting.total() >= self._most or self._waiting[tenant] >= self._most_of_one:
            raise LayercutError("too_busy", "too many figures wait to be drawn; ask again in a few seconds")
        self._waiting[tenant] += 1
        drawn = asyncio.get_running_loop().run_in_executor(self._thread, _drawn, make)
        self._under_way[key] = drawn
        drawn.add_done_callback(lambda done: self._end(tenant, key, done))
        return drawn

    def _end(self, tenant: str, key: Hashable, done: asyncio.Future[Drawn]) -> None:
        self._waiting -= Counter((tenant,))
        del self._under_way[key]
        if done.cancelled() or done.exception() is not None:
            return
        self._kept[key] = done.result()
        self._bytes += len(done.result().content)
        while self._bytes > KEPT_BYTES:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= len(oldest.content)


def _drawn(make: Callable[[], bytes]) -> Drawn:
    content = make()
    return Drawn(content, f'"sha256-{hashlib.sha256(content).hexdigest()}"')
