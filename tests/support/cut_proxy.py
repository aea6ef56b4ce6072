"""A TCP proxy that a test cuts: by hand, or after so many bytes of the server's."""

from __future__ import annotations

import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

#: Closed with a reset, as a cable that is pulled looks to the other end sooner or later.
RESET = struct.pack("ii", 1, 0)


class CutProxy:
    """Of a server on ``port`` of this machine."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._budgets: deque[int] = deque()
        #: Connections so far.
        self.connections = 0
        #: While it is set, whoever connects is cut off at once.
        self.down = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, *sizes: int) -> None:
        """Cut each of the next connections after that many bytes to the client, one size for each."""
        self._budgets.extend(sizes)

    def cut(self) -> None:
        """All that are open."""
        with self._lock:
            for one in list(self._open):
                self._reset(one)

    def close(self) -> None:
        self.down = True
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                if self.down:
                    self._reset(client)
                    continue
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        budget = self._budgets.popleft() if self._budgets else None
        try:
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            return self._reset(client)
        with self._lock:
            self._open |= {client, server}
        threading.Thread(target=self._pass_on, args=(client, server, None), daemon=True).start()
        self._pass_on(server, client, budget)

    def _pass_on(self, source: socket.socket, target: socket.socket, budget: int | None) -> None:
        with suppress(OSError):
            while block := source.recv(65536):
                if budget is not None and len(block) >= budget:
                    target.sendall(block[:budget])
                    break
                budget = None if budget is None else budget - len(block)
                target.sendall(block)
            else:
                target.shutdown(socket.SHUT_WR)
                return
        with self._lock:
            self._reset(source)
            self._reset(target)

    def _reset(self, one: socket.socket) -> None:
        self._open.discard(one)
        with suppress(OSError):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            one.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads from it, which else keeps it open
        one.close()


@contextmanager
def cut_proxy(port: int) -> Iterator[CutProxy]:
    proxy = CutProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
