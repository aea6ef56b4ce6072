"""A receiver of webhooks on loopback, which counts what it is told."""

from __future__ import annotations

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver:
    """``status`` is what it answers; what it answered with 2xx counts as ``told``, by (job, event type)."""

    def __init__(self) -> None:
        self.status = 204
        self.told: Counter[tuple[str, str]] = Counter()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
                status = receiver.status
                if status < 300:
                    receiver.told[(body.get("data", {}).get("id", ""), body.get("type", ""))] += 1
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        return Handler
