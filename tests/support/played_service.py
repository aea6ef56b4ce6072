"""A service that a test plays, for what no layercut would say: over real sockets, whatever is answered."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Said:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Heard:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class PlayedService:
    """``url``, and all that was ``heard``."""

    def __init__(self, answer: Callable[[Heard], Said]) -> None:
        self.heard: list[Heard] = []
        played = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def play(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                heard = Heard(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                played.heard.append(heard)
                said = answer(heard)
                self.send_response(said.status)
                for name, value in {"Content-Length": str(len(said.body)), **said.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(said.body)

            do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = play

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def played_service(answer: Callable[[Heard], Said]) -> Iterator[PlayedService]:
    service = PlayedService(answer)
    try:
        yield service
    finally:
        service.close()


def said_json(body: Any, status: int = 200, **headers: str) -> Said:
    return Said(status, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})


def said_problem(status: int, code: str, **headers: str) -> Said:
    body = {"type": "/problems/x", "title": "t", "status": status, "detail": f"it is {code}", "code": code}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return said_json(body, status, **{**named, "Content-Type": "application/problem+json"})
