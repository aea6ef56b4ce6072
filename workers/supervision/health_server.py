"""Where a worker answers over HTTP: whether its loops turn, and its metrics. Nothing else, and no tenant's."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from telemetry.metrics import CONTENT_TYPE_LATEST
from workers.supervision.pulse import Pulse

log = logging.getLogger("layercut.health")

#: A connection that says nothing for so long is closed, and of those that do there are no more at a time.
PATIENCE_SECONDS, MOST = 5.0, 16

Answer = tuple[HTTPStatus, str, bytes]


class HealthServer:
    """Answers ``/healthz`` and ``/metrics`` until it is closed. Raises ``OSError`` where it cannot listen there."""

    def __init__(self, host: str, port: int, pulse: Pulse, metrics: Callable[[], bytes]) -> None:
        answers = {"/healthz": lambda: _health(pulse), "/metrics": lambda: _metrics(metrics)}
        self._server = _Server((host, port), _handler(answers))
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def open_health_server(host: str, port: int, pulse: Pulse, metrics: Callable[[], bytes]) -> HealthServer | None:
    """None for port 0, and where nobody can listen there: a worker that cannot be asked still works."""
    if not port:
        return None
    try:
        return HealthServer(host, port, pulse, metrics)
    except OSError as error:
        log.error("cannot answer at %s:%s: %s. LAYERCUT_WORKER_PORT says where", host, port, error.strerror)
        return None


def _health(pulse: Pulse) -> Answer:
    stuck = pulse.stuck()
    status = HTTPStatus.SERVICE_UNAVAILABLE if stuck else HTTPStatus.OK
    body = {"status": "stuck", "seconds_since": stuck} if stuck else {"status": "ok"}
    return status, "application/json", json.dumps(body).encode()


def _metrics(text: Callable[[], bytes]) -> Answer:
    return HTTPStatus.OK, CONTENT_TYPE_LATEST, text()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._room = threading.Semaphore(MOST)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread to be had: nobody else gives the place back
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a caller of the health server went away", exc_info=True)


def _handler(answers: dict[str, Callable[[], Answer]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = PATIENCE_SECONDS
        server_version, sys_version = "layercut", ""

        def do_GET(self) -> None:
            answer = answers.get(self.path.partition("?")[0])
            status, media_type, body = answer() if answer else (HTTPStatus.NOT_FOUND, "text/plain", b"")
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Probes come every few seconds and say nothing."""

    return Handler
