"""A relay on 127.0.0.1 that breaks a connection off once, in the midst of a large answer."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def cutting_relay(port: int, after: int) -> Iterator[int]:
    """The port of one that leads to ``port``; the first connection by which more than ``after`` bytes come is cut."""
    cut = threading.Event()

    class Relay(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", port)) as server, suppress(OSError):
                threading.Thread(target=_pump, args=(self.request, server), daemon=True).start()
                size = 0
                while block := server.recv(65536):
                    size += len(block)
                    if size > after and not cut.is_set():
                        cut.set()
                        return
                    self.request.sendall(block)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Relay) as relay:
        relay.daemon_threads = True
        thread = threading.Thread(target=relay.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield relay.server_address[1]
            assert cut.is_set(), "nothing as large came"
        finally:
            relay.shutdown()
            thread.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while block := source.recv(65536):
            target.sendall(block)
        target.shutdown(socket.SHUT_WR)
