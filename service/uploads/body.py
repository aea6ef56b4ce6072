"""The body of a request for the thread that works on it: the event loop reads it, a megabyte at a time.

What the thread has not asked for is not read: a client sends as fast as the store takes it, and no faster.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future

from fastapi import Request
from starlette.requests import ClientDisconnect

from api_schemas.errors import LayercutError
from service.edge.long_bodies import allow_long_body

BLOCK = 1 << 20


class Body:
    """Made in the event loop. ``limit``: bytes that it may have, ``allowed`` what sets that; and ``beside``, which an
    error does not tell.
    """

    def __init__(self, request: Request, limit: int, allowed: str, *, beside: int = 0) -> None:
        self.announced = announced_length(request)
        self._limit, self._most, self._allowed = limit, limit + beside, allowed
        if self.announced is not None and self.announced > self._most:
            raise self._too_large()
        self._loop = asyncio.get_running_loop()
        self._stream: AsyncIterator[bytes] = request.stream()
        self._count = 0
        self._gone: ClientDisconnect | None = None
        self._asked: Future[bytes] | None = None
        self._closed = False
        # Its time is no longer bounded, as long as it goes on.
        allow_long_body(request.scope)

    def blocks(self) -> Iterator[bytes]:
        """In another thread. What came before the client went away is given first; then ``ClientDisconnect`` is
        raised. Raises ``payload_too_large``, and ``CancelledError`` once it is closed.
        """
        while block := self._next():
            self._count += len(block)
            if self._count > self._most:
                raise self._too_large()
            yield block

    def close(self) -> None:
        """Nobody waits for the answer: the thread is told so where it waits for the client. In the event loop."""
        self._closed = True
        if self._asked is not None:
            self._asked.cancel()

    def _next(self) -> bytes:
        self._asked = asyncio.run_coroutine_threadsafe(self._gather(), self._loop)
        return self._asked.result()

    async def _gather(self) -> bytes:
        if self._closed:
            raise asyncio.CancelledError
        if self._gone is not None:
            raise self._gone
        gathered = bytearray()
        try:
            async for piece in self._stream:
                gathered += piece
                if len(gathered) >= BLOCK:
                    break
        except ClientDisconnect as gone:
            if not gathered:
                raise
            self._gone = gone
        return bytes(gathered)

    def _too_large(self) -> LayercutError:
        return LayercutError(
            "payload_too_large", f"the body is larger than the {self._limit} bytes that {self._allowed}",
            details={"limit": self._limit},
        )  # fmt: skip


def announced_length(request: Request) -> int | None:
    """Of ``Content-Length``; None where the body comes in chunks."""
    text = request.headers.get("content-length", "")
    return int(text) if text.isdecimal() and len(text) < 20 else None
