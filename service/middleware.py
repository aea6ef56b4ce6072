"""Around every request: who may call, its id, one line in the log, and an answer when the code itself fails.

One middleware for all of it: each layer more would cost every request a call and every answer a scan of its headers.
"""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_schemas.errors import LayercutError
from service.edge.addresses import check_address
from service.edge.callers import Callers
from service.edge.headers import add_security_headers
from service.failures import log_failure
from service.problems import internal_problem, refusal
from store.passing import passing

HEADER = b"x-request-id"

# A client's own id is taken where it is harmless in a log line and a header.
ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,128}")

# Probes come every few seconds and say nothing.
QUIET = frozenset({"/healthz", "/readyz"})

# Of a path that a stranger chose, in a line of the log.
LOGGED = 500

log = structlog.get_logger("layercut.http")


class RequestContext:
    """ASGI middleware. Written without Starlette's base class, which would stand between a stream and its client."""

    def __init__(self, app: ASGIApp, callers: Callers) -> None:
        self.app = app
        self.callers = callers

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
        except Exception as error:
            log_failure(log, "request_failed", error, **_where(scope))
            if status:
                # Half an answer is out: only a broken connection tells the client that it is not whole.
                raise
            found = passing(error)
            answer = internal_problem(request_id) if found is None else refusal(found, request_id)
            await answer(scope, receive, send_with_headers)
        finally:
            if scope["path"] not in QUIET:
                log.info("request", **_where(scope), status=status, seconds=round(time.perf_counter() - started, 4))

    async def _let_in(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        try:
            self.callers.check(scope)
            check_address(scope)
        except LayercutError as error:
            await refusal(error, request_id)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def _request_id(scope: Scope) -> str:
    sent = next((value.decode("latin-1") for name, value in scope["headers"] if name == HEADER), "")
    return sent if ACCEPTED.fullmatch(sent) else uuid.uuid4().hex


def _where(scope: Scope) -> dict[str, Any]:
    # No query string and no body: they are the customer's.
    return {"method": scope["method"], "path": scope["path"][:LOGGED]}
