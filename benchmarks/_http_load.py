"""A client that is faster than what it measures: sockets, one epoll and no HTTP library, in a process of its own."""

from __future__ import annotations

import os
import selectors
import socket
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

_LENGTH = b"\r\ncontent-length: "


@dataclass(frozen=True)
class Load:
    """``connections`` that are kept open, each with one request under way, for so many ``seconds``."""

    port: int
    path: str
    connections: int
    seconds: float
    headers: str = ""


@dataclass(frozen=True)
class Answered:
    """``waits`` in seconds, sorted."""

    seconds: float
    waits: list[float]

    @property
    def per_second(self) -> float:
        return len(self.waits) / self.seconds

    def percentile(self, share: float) -> float:
        return self.waits[min(int(len(self.waits) * share), len(self.waits) - 1)]


def pinned(core: int | None) -> None:
    """Keep this process, and what it starts, to one core; None, or a host with one core alone: to none."""
    cores = sorted(os.sched_getaffinity(0))
    if core is not None and len(cores) > core:
        os.sched_setaffinity(0, {cores[core]})


def client(core: int | None = 1) -> ProcessPoolExecutor:
    """A process for ``put_load``."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=pinned, initargs=(core,))


def put_load(load: Load) -> Answered:
    """Ask until the time is over. Raises ``RuntimeError`` for any answer but 200."""
    request = f"GET {load.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{load.headers}\r\n".encode()
    waits: list[float] = []
    with selectors.DefaultSelector() as ready:
        open_ = [_connect(load.port) for _ in range(load.connections)]
        sent = {}
        for connection in open_:
            ready.register(connection, selectors.EVENT_READ)
            connection.sendall(request)
            sent[connection.fileno()] = time.perf_counter()
        began = now = time.perf_counter()
        while now - began < load.seconds:
            for key, _ in ready.select(1.0):
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                _read_answer(connection)
                now = time.perf_counter()
                waits.append(now - sent[key.fd])
                connection.sendall(request)
                sent[key.fd] = now
        for connection in open_:
            connection.close()
    return Answered(now - began, sorted(waits))


def _connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _read_answer(connection: socket.socket) -> None:
    data = connection.recv(1 << 16)
    head = data.find(b"\r\n\r\n")
    while head < 0:
        data += connection.recv(1 << 16)
        head = data.find(b"\r\n\r\n")
    if not data.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"answered with {data[:80]!r}")
    at = data.lower().index(_LENGTH) + len(_LENGTH)
    whole = head + 4 + int(data[at : data.index(b"\r", at)])
    left = whole - len(data)
    while left > 0:
        left -= len(connection.recv(1 << 16))
