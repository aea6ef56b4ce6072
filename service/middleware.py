"""Around every request: its id, one line in the log, and an answer when the code itself fails."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problems import internal_problem

HEADER = "X-Request-ID"

# A client's own id is taken where it is harmless in a log line and a header.
ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,128}")

# Probes come every few seconds and say nothing.
QUIET = frozenset({"/healthz", "/readyz"})

log = structlog.get_logger("layercut.http")


class RequestContext:
    """ASGI middleware. Written without Starlette's base class, which would stand between a stream and its client."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self._answer(scope, receive, send, request_id)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        started, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[HEADER] = request_id
                # What a dependency has to say, whatever kind of answer the route gives.
                headers.update(scope["state"].get("answer_headers", {}))
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            log.exception("request_failed", **_where(scope))
            if status:
                # Half an answer is out: only a broken connection tells the client that it is not whole.
                raise
            await internal_problem(request_id)(scope, receive, send_with_id)
        finally:
            if scope["path"] not in QUIET:
                log.info("request", **_where(scope), status=status, seconds=round(time.perf_counter() - started, 4))


def _request_id(scope: Scope) -> str:
    sent = Headers(scope=scope).get(HEADER, "")
    return sent if ACCEPTED.fullmatch(sent) else uuid.uuid4().hex


def _where(scope: Scope) -> dict[str, Any]:
    # No query string and no body: they are the customer's.
    return {"method": scope["method"], "path": scope["path"]}
