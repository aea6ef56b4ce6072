"""Threads of their own for uploads: each has one for as long as its client sends, and so they are counted.

Where all are taken, the next is answered with 503 before its body is read. No tenant is given the last of them.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from api_schemas.errors import LayercutError
from store.tenants import QuotaExceeded

R = TypeVar("R")

RETRY_AFTER_SECONDS = 5


class Slots:
    """Of one event loop. ``one_tenant``: there are no others to leave any to."""

    def __init__(self, most: int, *, one_tenant: bool) -> None:
        self._most, self._most_of_one = most, most if one_tenant else max(1, most - 1)
        self._threads = ThreadPoolExecutor(most, thread_name_prefix="uploads")
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        return self._taken.total()

    def check_free(self, tenant: str) -> None:
        """Raise ``too_busy`` or ``quota_exceeded`` where the tenant has to wait."""
        if self._taken[tenant] >= self._most_of_one < self._most:
            text = f"{self._taken[tenant]} of your uploads are under way already, the most that may"
            raise QuotaExceeded(f"{text}: ask again in {RETRY_AFTER_SECONDS} seconds", RETRY_AFTER_SECONDS)
        if self.taken >= self._most:
            raise LayercutError("too_busy", f"{self.taken} uploads are under way already; try again later")

    async def run(self, tenant: str, work: Callable[[], R], stop: Callable[[], object]) -> R:
        """What ``work`` returns or raises, in a thread of its own. ``stop`` is called where nobody waits for it any
        more, as the service ends. Raises as ``check_free``.
        """
        self.check_free(tenant)
        self._taken[tenant] += 1
        context = contextvars.copy_context()
        done = asyncio.get_running_loop().run_in_executor(self._threads, lambda: context.run(work))
        done.add_done_callback(lambda _: self._free(tenant))
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            stop()
            done.add_done_callback(lambda over: over.cancelled() or over.exception())  # nobody else asks for it
            raise

    def close(self) -> None:
        """Take no more; what runs is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _free(self, tenant: str) -> None:
        self._taken -= Counter((tenant,))
