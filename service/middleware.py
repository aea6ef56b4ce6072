"""Around every request: who may call, its id, one line in the log, and an answer when the code itself fails.

One middleware for all of it: each layer more would cost every request a call and every answer a scan of its headers.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from typing import Any

import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_schemas.errors import LayercutError
from service.edge.addresses import check_address
from service.edge.callers import Callers
from service.edge.headers import add_security_headers
from service.edge.root_path import own_path
from service.failures import log_failure
from service.problems import internal_problem, refusal
from store.passing import passing
from telemetry.gateway_metrics import GatewayMetrics
from telemetry.tracing import Span, Tracing, read_traceparent, trace_id_of

HEADER, TRACEPARENT = b"x-request-id", b"traceparent"

# A client's own id is taken where it is harmless in a log line and a header.
ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,128}")

# Probes come every few seconds and say nothing.
QUIET = frozenset({"/healthz", "/readyz", "/metrics"})

# Of a path that a stranger chose, in a line of the log.
LOGGED = 500

STOPPING = "the service stops, and waits for this request no longer: send it again"

log = structlog.get_logger("layercut.http")


class RequestContext:
    """ASGI middleware. Written without Starlette's base class, which would stand between a stream and its client."""

    def __init__(self, app: ASGIApp, callers: Callers, metrics: GatewayMetrics | None, tracing: Tracing) -> None:
        self.app = app
        self.callers = callers
        self._metrics, self._tracing = metrics, tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        bound = {"request_id": _request_id(scope)}
        traceparent, span = _traceparent(scope), None
        if self._tracing.on and own_path(scope) not in QUIET:
            span = self._tracing.start(scope["method"], traceparent, server=True)
            traceparent = span.traceparent
        if traceparent is not None:
            bound["trace_id"] = trace_id_of(traceparent)
        scope.setdefault("state", {}).update(request_id=bound["request_id"], traceparent=traceparent)
        with structlog.contextvars.bound_contextvars(**bound):
            await self._answer(scope, receive, send, bound["request_id"], span)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: str, span: Span | None) -> None:
        started, status = time.perf_counter(), 0
        if self._metrics is not None:
            self._metrics.begin_request()

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"] = list(message.get("headers", ()))
                headers.append((HEADER, request_id.encode()))
                # What a dependency has to say, whatever kind of answer the route gives.
                said = scope["state"].get("answer_headers", {})
                headers += [(name.lower().encode(), value.encode()) for name, value in said.items()]
                add_security_headers(headers)
            await send(message)

        try:
            await self._let_in(scope, receive, send_with_headers, request_id)
        except ClientDisconnect:
            # Whoever sent half a body has gone, or was made to: there is nobody to answer.
            log.info("client_gone", **_where(scope))
        except (Exception, asyncio.CancelledError) as error:
            answer = _failure(error, scope, request_id)
            if status:
                # Half an answer is out: only a broken connection tells the client that it is not whole.
                raise
            await answer(scope, receive, send_with_headers)
        finally:
            seconds = time.perf_counter() - started
            if own_path(scope) not in QUIET:
                log.info("request", **_where(scope), status=status, seconds=round(seconds, 4))
            self._tell(scope, status, seconds, span)

    def _tell(self, scope: Scope, status: int, seconds: float, span: Span | None) -> None:
        route = getattr(scope.get("route"), "path_format", None)
        if self._metrics is not None:
            # A wait that was asked for is not slow.
            busy = seconds - scope["state"].get("waited", 0.0)
            self._metrics.end_request(scope["method"], route, status, busy)
        if span is not None:
            name = f"{scope['method']} {route}" if route else scope["method"]
            span.end(_attributes(scope, route, status), name=name, error=str(status) if status >= 500 else None)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        try:
            self.callers.check(scope)
            check_address(scope)
        except LayercutError as error:
            await refusal(error, request_id)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def _failure(error: Exception | asyncio.CancelledError, scope: Scope, request_id: str) -> Response:
    """The answer to what was raised; it is logged."""
    if isinstance(error, asyncio.CancelledError):
        # Nobody but the server cancels a request, once it ends and has waited for long enough. The request's task ends
        # with this answer: what it raised after that, the server would log as a failure of the application.
        return refusal(LayercutError("not_ready", STOPPING), request_id)
    log_failure(log, "request_failed", error, **_where(scope))
    found = passing(error)
    return internal_problem(request_id) if found is None else refusal(found, request_id)


def _request_id(scope: Scope) -> str:
    sent = next((value.decode("latin-1") for name, value in scope["headers"] if name == HEADER), "")
    return sent if ACCEPTED.fullmatch(sent) else uuid.uuid4().hex


def _traceparent(scope: Scope) -> str | None:
    sent = next((value for name, value in scope["headers"] if name == TRACEPARENT), None)
    return None if sent is None else read_traceparent(sent.decode("latin-1"))


def _attributes(scope: Scope, route: str | None, status: int) -> dict[str, str | int]:
    return {
        "http.request.method": scope["method"],
        "http.response.status_code": status,
        "http.route": route or "",
        "url.path": scope["path"][:LOGGED],
        "layercut.request_id": scope["state"]["request_id"],
    }


def _where(scope: Scope) -> dict[str, Any]:
    # No query string and no body: they are the customer's.
    return {"method": scope["method"], "path": scope["path"][:LOGGED]}
