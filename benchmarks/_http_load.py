"""A client that is faster than what it measures: sockets, one epoll and no HTTP library, in a process of its own."""

from __future__ import annotations

import json
import os
import selectors
import socket
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection
from multiprocessing import get_context
from typing import Any

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
                assert isinstance(key.fileobj, socket.socket)
                _read_answer(key.fileobj)
                now = time.perf_counter()
                waits.append(now - sent[key.fd])
                key.fileobj.sendall(request)
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


class Watchers:
    """Streams that are open at one time; what comes is counted and thrown away."""

    def __init__(self, port: int, paths: list[str]) -> None:
        self._ready = selectors.DefaultSelector()
        self._tails: dict[int, bytes] = {}
        for path in paths:
            connection = _connect(port)
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n".encode())
            self._ready.register(connection, selectors.EVENT_READ)
            self._tails[connection.fileno()] = b""

    def __len__(self) -> int:
        return len(self._ready.get_map())

    def until_all_have(self, text: bytes, seconds: float = 60.0) -> float:
        """Read until each has been sent ``text``; seconds that the last one took. Raises ``TimeoutError``."""
        began, waiting = time.perf_counter(), set(self._tails)
        while waiting:
            self._read(began + seconds)
            waiting -= {number for number in waiting if text in self._tails[number]}
        for number in self._tails:
            self._tails[number] = b""
        return time.perf_counter() - began

    def until_all_are_closed(self, seconds: float = 60.0) -> float:
        began = time.perf_counter()
        while len(self):
            self._read(began + seconds)
        return time.perf_counter() - began

    def read_on(self, stopped: threading.Event) -> None:
        """In a thread of its own."""
        while not stopped.is_set() and len(self):
            self._read(time.perf_counter() + 0.2, patient=True)

    def close(self) -> None:
        for key in list(self._ready.get_map().values()):
            self._drop(key.fileobj)
        self._ready.close()

    def _read(self, deadline: float, *, patient: bool = False) -> None:
        found = self._ready.select(max(0.0, deadline - time.perf_counter()))
        if not found and not patient:
            raise TimeoutError(f"{len(self)} of {len(self._tails)} streams did not get what they waited for")
        for key, _ in found:
            assert isinstance(key.fileobj, socket.socket)
            data = key.fileobj.recv(1 << 16)
            self._tails[key.fd] = (self._tails[key.fd] + data)[-8192:]
            if not data:
                self._drop(key.fileobj)

    def _drop(self, connection: object) -> None:
        assert isinstance(connection, socket.socket)
        self._ready.unregister(connection)
        connection.close()


def download(port: int, path: str) -> int:
    """The bytes of a file; raises ``RuntimeError`` for any answer but 200."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=120)) as client_:
        client_.request("GET", path)
        answer = client_.getresponse()
        if answer.status != HTTPStatus.OK:
            raise RuntimeError(f"{path} was answered with {answer.status}")
        size = 0
        while block := answer.read(1 << 18):
            size += len(block)
    return size


def post(port: int, path: str, body: bytes) -> dict[str, Any]:
    """The JSON that answers; raises ``RuntimeError`` for any answer but 202."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=120)) as client_:
        client_.request("POST", path, body, {"Content-Type": "application/json"})
        answer = client_.getresponse()
        text = answer.read()
    if answer.status != HTTPStatus.ACCEPTED:
        raise RuntimeError(f"{path} was answered with {answer.status}: {text[:200]!r}")
    found: dict[str, Any] = json.loads(text)
    return found
