"""The kernel sends files: ASGI's extension "Zero Copy Send", which uvicorn does not have, for a connection without TLS.

The event loop waits for the client, and never for a disk: what the kernel has not read yet, a thread reads first.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import struct
import sys
import termios
from collections.abc import Awaitable, Callable
from typing import Any

#: The name of the extension, and of its message.
ZERO_COPY_SEND = "http.response.zerocopysend"

#: Of one step: while it is copied, nobody else is served.
STEP_BYTES = 1 << 20

SUPPORTED = sys.platform == "linux" and hasattr(os, "RWF_NOWAIT")

_NOT_READ_YET = (errno.EAGAIN, errno.EOPNOTSUPP)

Send = Callable[[Any], Awaitable[None]]


class FileSender:
    """Sends files over the open ``socket`` of somebody else, who writes nothing meanwhile.

    ``waits`` is called with True when the client does not read, and with False when it does again.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: int, waits: Callable[[bool], None]) -> None:
        self._loop, self._socket, self._waits = loop, socket, waits
        self._waiter: asyncio.Future[None] | None = None

    async def send(self, file: int, start: int, count: int) -> None:
        """Send ``count`` bytes of the open file. Raises ``ConnectionError``, and ``EOFError`` for a shorter file."""
        # The loop takes a second writer under a second name alone. It must go: it would keep the connection open.
        socket = os.dup(self._socket)
        try:
            while count:
                step = min(count, STEP_BYTES)
                if not _is_read(file, start + step - 1):
                    await asyncio.to_thread(os.pread, file, step, start)
                sent = await self._step(socket, file, start, step)
                start, count = start + sent, count - sent
        finally:
            os.close(socket)

    def connection_lost(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ConnectionResetError("the client has gone"))

    async def _step(self, socket: int, file: int, start: int, count: int) -> int:
        try:
            sent = os.sendfile(socket, file, start, count)
        except BlockingIOError:
            await self._writable(socket)
            return 0
        if not sent:
            raise EOFError("a file became shorter while it was sent")
        if sent < count:
            await self._writable(socket)
        else:
            await asyncio.sleep(0)  # others have their turn
        return sent

    async def _writable(self, socket: int) -> None:
        self._waiter = waiter = self._loop.create_future()
        self._loop.add_writer(socket, _set, waiter)
        self._waits(True)
        try:
            await waiter
        finally:
            self._loop.remove_writer(socket)
            self._waits(False)
            self._waiter = None


def unsent(socket: int) -> int:
    """Bytes that were written to the socket, and that the other side has not acknowledged."""
    return int(struct.unpack("i", fcntl.ioctl(socket, termios.TIOCOUTQ, bytes(4)))[0])


def _is_read(file: int, position: int) -> bool:
    """Whether the kernel has the byte in memory."""
    try:
        os.preadv(file, [bytearray(1)], position, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno not in _NOT_READ_YET:
            raise
        return False
    return True


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
