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
from collections.abc import Callable
from typing import Any

import h11
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

#: The name of the extension, and of its message.
ZERO_COPY_SEND = "http.response.zerocopysend"

#: Of one step: while it is copied, nobody else is served.
STEP_BYTES = 1 << 20

SUPPORTED = sys.platform == "linux" and hasattr(os, "RWF_NOWAIT")

_NOT_READ_YET = (errno.EAGAIN, errno.EOPNOTSUPP)


class FileSending:
    """Of one connection. ``waits`` is called with True when the client does not read, and with False when it does."""

    def __init__(self, connection: H11Protocol, waits: Callable[[bool], None]) -> None:
        self._connection, self._waits = connection, waits
        self._waiter: asyncio.Future[None] | None = None

    def offered_to(self, app: ASGI3Application) -> ASGI3Application:
        """The application, which may send messages of the extension then."""

        async def offered(scope: Any, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
            cycle = self._connection.cycle
            if self._connection.transport.get_extra_info("sslcontext") is None:
                scope.setdefault("extensions", {})[ZERO_COPY_SEND] = {}

            async def send_any(message: Any) -> None:
                await (self._send(cycle, message) if message["type"] == ZERO_COPY_SEND else send(message))

            await app(scope, receive, send_any)

        return offered if SUPPORTED else app

    def connection_lost(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ConnectionResetError("the client has gone"))

    async def _send(self, cycle: RequestResponseCycle, message: dict[str, Any]) -> None:
        """Behind the messages that came before it. Raises ``EOFError`` for a file that is shorter than was said."""
        if cycle.scope["method"] != "HEAD":
            await self._written()
            if not cycle.disconnected:
                await self._send_part(cycle, message["file"].fileno(), message["offset"], message["count"])
        if not message.get("more_body", False):
            await cycle.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_part(self, cycle: RequestResponseCycle, file: int, start: int, count: int) -> None:
        counted = self._connection.conn.send_with_data_passthrough(h11.Data(data=_Counted(count)))  # type: ignore[arg-type]
        try:
            for data in counted or ():
                if isinstance(data, _Counted):
                    await self._send_file(file, start, count)
                else:
                    self._connection.transport.write(data)
                    await self._written()
        except ConnectionError:
            cycle.disconnected = True
            self._connection.transport.abort()

    async def _written(self) -> None:
        """Return when all that was written before is with the kernel, so that the file comes behind it."""
        transport = self._connection.transport
        transport.set_write_buffer_limits(high=0)
        await self._connection.flow.drain()
        transport.set_write_buffer_limits()

    async def _send_file(self, file: int, start: int, count: int) -> None:
        # The loop takes a second writer under a second name alone. It must go: it would keep the connection open.
        socket = os.dup(self._connection.transport.get_extra_info("socket").fileno())
        try:
            while count:
                step = min(count, STEP_BYTES)
                if not _is_read(file, start + step - 1):
                    await asyncio.to_thread(os.pread, file, step, start)
                sent = await self._step(socket, file, start, step)
                start, count = start + sent, count - sent
        finally:
            os.close(socket)

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
        loop = self._connection.loop
        self._waiter = waiter = loop.create_future()
        loop.add_writer(socket, _set, waiter)
        self._waits(True)
        try:
            await waiter
        finally:
            loop.remove_writer(socket)
            self._waits(False)
            self._waiter = None


class _Counted:
    """Stands for the bytes of a file, where h11 only counts them."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count


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
