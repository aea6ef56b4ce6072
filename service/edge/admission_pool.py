"""Threads of their own for requests that look into models and data, so that the others always find one.

FastAPI runs what may block in one pool of 40 threads. A look into a model takes milliseconds, seconds where it is
hashed, and where a disk hangs, for ever: forty of those would leave no thread to read a job's row. So they have a
small pool here, and a time within which they are answered. A thread that is stuck keeps its place (Python cannot stop
it), so that stuck looks cost this pool and no other.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from api_schemas.errors import LayercutError

P = ParamSpec("P")
R = TypeVar("R")


class AdmissionPool:
    def __init__(self, threads: int, seconds: float) -> None:
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="admission")

    async def run(self, look: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What ``look`` returns or raises; ``too_busy`` where it did not begin and end in time.

        ``look`` must change nothing: it may go on after its caller was told that it came to nothing.
        """
        context = contextvars.copy_context()
        asked = asyncio.wrap_future(self._threads.submit(lambda: context.run(look, *args, **kwargs)))
        try:
            done, _ = await asyncio.wait((asked,), timeout=self._seconds)
        finally:
            asked.cancel()  # where it has not begun, it never will
        if not done:
            text = f"the model and the data were not looked at within {self._seconds:g} s; try again later"
            raise LayercutError("too_busy", text)
        return asked.result()

    def close(self) -> None:
        """Take no more; what runs is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
