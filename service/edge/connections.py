"""Connections: how many there may be, and how long each may take over a head, a body, an answer and doing nothing.

A connection costs a descriptor and some kilobytes, and no thread: bodies are read in the event loop. So what must be
bounded is their number and their time. Where there are too many, the oldest whose request is not whole makes room,
so that clients with whole requests are always let in; where all are whole, one of the host that has most, so that
nobody keeps others out by reading slowly.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from service.edge.file_sending import FileSending, unsent
from service.edge.framing import HeadLimits, StrictConnection
from service.edge.long_bodies import offering
from service.edge.networks import is_loopback, network_of
from service.edge.raw_answers import raw_problem
from service.settings import GatewaySettings

#: In what the application's lifespan hands to its server: what ends the answers that go on for ever.
STOP = "stop_streams"

#: How often connections that are out of time are looked for.
SWEEP_SECONDS = 0.5

#: Descriptors that are left for the database, files and pipes.
DESCRIPTORS_FOR_OTHERS = 128

#: Of a connection over which a file is sent: itself, under two names, and the file.
DESCRIPTORS_EACH = 3

RETRY_AFTER_SECONDS = 5

#: Bytes that are read at a time. A body in chunks of one byte costs a hundred times its size to read, and nobody else
#: is served in that time; asyncio would read 256 KiB.
READ_BYTES = 16 * 1024

#: How long a client that was answered before its body was whole may go on with it, so that it sees the answer.
LINGER_SECONDS = 2.0

#: A client that takes less than so many bytes of an answer in a second is taken for one that does not read; and one
#: that sends less of a body that has no end to its time, for one that does not send.
SLOWEST = 1024


@dataclass(frozen=True)
class ConnectionLimits:
    """Times are in seconds. ``idle`` is between two requests, ``stall`` between two pieces of a body or an answer."""

    connections: int
    per_address: int
    head: float
    body: float
    stall: float
    idle: float
    heads: HeadLimits

    @classmethod
    def of(cls, settings: GatewaySettings) -> ConnectionLimits:
        return cls(
            connections=min(settings.max_connections, max(_free_descriptors() // DESCRIPTORS_EACH, 16)),
            per_address=settings.max_connections_per_address,
            head=settings.head_seconds,
            body=settings.body_seconds,
            stall=settings.stall_seconds,
            idle=settings.idle_seconds,
            heads=HeadLimits(settings.max_headers, settings.max_header_bytes),
        )


class Connections:
    """All of a server: those whose request is not whole, oldest first, and those whose client does not read."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        # Dicts, because they keep their order: the first is the oldest.
        self.incomplete: dict[GuardedProtocol, None] = {}
        self.stalled: dict[GuardedProtocol, float] = {}
        self._by_network: dict[str, dict[GuardedProtocol, None]] = {}
        self._total = 0
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, connection: GuardedProtocol) -> bool:
        """Count it in, where there is room or can be made."""
        self._total += 1
        self._by_network.setdefault(connection.network, {})[connection] = None
        self.incomplete[connection] = None
        if self._timer is None:
            self._timer = connection.loop.call_later(SWEEP_SECONDS, self._sweep, connection.loop)
        return self._room_for(connection)

    def leave(self, connection: GuardedProtocol) -> None:
        self._total -= 1
        held = self._by_network[connection.network]
        del held[connection]
        if not held:
            del self._by_network[connection.network]
        self.incomplete.pop(connection, None)
        self.stalled.pop(connection, None)

    def _room_for(self, new: GuardedProtocol) -> bool:
        limits, same = self.limits, self._by_network[new.network]
        if limits.per_address and len(same) > limits.per_address and not is_loopback(new.address):
            return self._close(new, self._oldest_incomplete(new.network))
        if self._total <= limits.connections:
            return True
        return self._close(new, self._oldest_incomplete(None)) or self._close(new, self._of_whoever_has_most(len(same)))

    def _oldest_incomplete(self, network: str | None) -> GuardedProtocol | None:
        """Not those whose body may take long: they were let in, and are counted elsewhere."""
        return next((one for one in self.incomplete if network in (None, one.network) and not one.is_long), None)

    def _of_whoever_has_most(self, own: int) -> GuardedProtocol | None:
        """One whose client does not read, or the oldest, of a host that has at least twice as many as the new one's."""
        most = max(self._by_network.values(), key=len)
        if len(most) < 2 * own:
            return None
        return next((one for one in most if one in self.stalled), next(iter(most)))

    @staticmethod
    def _close(new: GuardedProtocol, other: GuardedProtocol | None) -> bool:
        if other is None or other is new:
            return False
        other.drop()
        return True

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in [one for one in self.incomplete if one.deadline is not None and one.deadline < now]:
            if connection.sends():
                connection.deadline = now + self.limits.stall
            else:
                connection.time_out()
        for connection in [one for one, deadline in self.stalled.items() if deadline < now]:
            if connection.reads():
                self.stalled[connection] = now + self.limits.stall
            else:
                connection.drop()
        self._timer = loop.call_later(SWEEP_SECONDS, self._sweep, loop) if self._total else None


class GuardedProtocol(H11Protocol):
    """uvicorn's connection, under limits. ``guarded`` makes the class that a server is given."""

    limits: ConnectionLimits

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn: StrictConnection = StrictConnection(self.limits.heads)
        self._files = FileSending(self, self._waits)
        self.app = offering(self._files.offered_to(self.app), self._allow_long_body)
        self.timeout_keep_alive = self.limits.idle  # type: ignore[assignment]  # uvicorn hands it to call_later
        self.address = self.network = ""
        self.deadline: float | None = None
        self._part: object = None  # h11's word for it, IDLE or SEND_BODY
        self._part_ends = 0.0
        self._counted = False
        self._unread = 0
        #: Whether the body at hand may take as long as it goes on, and how much of it came since that was looked at.
        self.is_long = False
        self._came = 0

    @property
    def others(self) -> Connections:
        """All connections of this server; made with its first."""
        state = self.server_state
        found: Connections | None = getattr(state, "guarded_connections", None)
        if found is None:
            found = Connections(self.limits)
            state.guarded_connections = found  # type: ignore[attr-defined]
        return found

    # What asyncio and uvicorn call

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.max_size = READ_BYTES  # type: ignore[attr-defined]  # of asyncio's own sockets
        self.address = self.client[0] if self.client else ""
        self.network = network_of(self.address)
        self._counted = True
        self._start(h11.IDLE, self.limits.head)
        if not self.others.enter(self):
            text = "there are too many connections; try again"
            transport.write(raw_problem("too_busy", text, retry_after=RETRY_AFTER_SECONDS))
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._files.connection_lost()
        if self._counted:
            self._counted = False
            self.others.leave(self)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._came += len(data)
        self._note(more=True)

    def shutdown(self) -> None:
        """The server ends. Answers that go on for as long as it lives are told so, each time the same."""
        super().shutdown()
        stop: Callable[[], None] | None = self.app_state.get(STOP)
        if stop is not None:
            stop()

    def on_response_complete(self) -> None:
        if self.conn.their_state is h11.SEND_BODY:
            self._start(h11.SEND_BODY, LINGER_SECONDS)
        super().on_response_complete()
        self._note(more=False)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._waits(True)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._waits(False)

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be read, whatever state h11 is in; no byte after it is read as a request."""
        self._end_with(*self.conn.refusal)

    # What `Connections` calls

    def reads(self) -> bool:
        """Whether the client took some of the answer since it was found not to, or since this was last asked."""
        before, self._unread = self._unread, self._unsent()
        return before - self._unread >= self.limits.stall * SLOWEST

    def sends(self) -> bool:
        """Whether a body that may take long goes on: enough of it came since this was last asked, or it is we who do
        not read on.
        """
        came, self._came = self._came, 0
        return self.is_long and (self.flow.read_paused or came >= self.limits.stall * SLOWEST)

    def time_out(self) -> None:
        part = "body" if self._part is h11.SEND_BODY else "head"
        self._end_with("request_timeout", f"the {part} of the request did not come in time")

    def drop(self) -> None:
        """Close at once, with nothing said: whoever does not read would not read that either."""
        self.others.incomplete.pop(self, None)
        self.others.stalled.pop(self, None)
        self.transport.abort()

    def _allow_long_body(self) -> None:
        """By a route that takes one, of the request at hand."""
        if self._part is h11.SEND_BODY:
            self.is_long, self._came = True, 0
            self.deadline = self.loop.time() + self.limits.stall

    def _waits(self, waits: bool) -> None:
        self.others.stalled.pop(self, None)
        if waits:
            self.others.stalled[self] = self.loop.time() + self.limits.stall
            self._unread = self._unsent()

    def _unsent(self) -> int:
        with suppress(OSError, ValueError):  # the socket has gone
            return unsent(self.transport.get_extra_info("socket").fileno()) + self.transport.get_write_buffer_size()
        return 0

    def _end_with(self, code: str, text: str) -> None:
        self.others.incomplete.pop(self, None)
        if not self._answered:
            self.transport.write(raw_problem(code, text))
        if self.cycle is not None:
            # The application's answer, where it is at work on one, has nowhere to go any more.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    @property
    def _answered(self) -> bool:
        """Whether the request at hand has its answer, or a part of it."""
        if self.cycle is None or not self.cycle.response_started:
            return False
        return self._part is h11.SEND_BODY or not self.cycle.response_complete

    def _note(self, *, more: bool) -> None:
        """Set the deadline by what is awaited: a head, a body, or nothing from the client. ``more``: bytes came."""
        state = self.conn.their_state
        if state is h11.SEND_BODY:
            if self._part is not state:
                self._start(state, self.limits.body)
            if not self.is_long:
                self.deadline = min(self.loop.time() + self.limits.stall, self._part_ends)
        elif state is h11.IDLE:
            if not more:
                # Between two requests uvicorn's own timer runs.
                self._part, self.deadline = None, None
            elif self._part is not state:
                self._start(state, self.limits.head)
        else:
            self._part, self.deadline, self.is_long = None, None, False
            self.others.incomplete.pop(self, None)
            return
        if not self.transport.is_closing() and self not in self.others.incomplete:
            self.others.incomplete[self] = None

    def _start(self, part: object, seconds: float) -> None:
        self.is_long = False
        self._part, self._part_ends = part, self.loop.time() + seconds
        self.deadline = self._part_ends


def guarded(limits: ConnectionLimits) -> type[GuardedProtocol]:
    """The protocol that ``uvicorn.Config(http=...)`` takes."""
    return type("GuardedProtocol", (GuardedProtocol,), {"limits": limits})


def raise_descriptor_limit() -> None:
    """As many open files as the system lets this process have: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _free_descriptors() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if soft == resource.RLIM_INFINITY else soft - DESCRIPTORS_FOR_OTHERS
