"""``Idempotency-Key``: a POST that is sent again is answered again, and done once."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from api_schemas.errors import LayercutError
from api_schemas.jobs import Job
from service.shown import shown
from service.state import GatewayState
from store.idempotency import Reservation, StoredAnswer, keep_answer
from store.jobs import Within
from store.passing import passing

HEADER = "Idempotency-Key"

#: A key of 1 to 255 printable characters, in quotes or bare.
FORM = r'^(?:"[ !#-\[\]-~]{1,255}"|[!#-~](?:[ -~]{0,253}[!-~])?)$'

#: For the document: the header that a route reads by itself.
PARAMETER: dict[str, Any] = {
    "name": HEADER,
    "in": "header",
    "description": "sent again with the same request, it is answered as the first, and nothing is done twice",
    "schema": {"type": "string", "pattern": FORM, "maxLength": 257},
}

ACCEPTED = 202

#: What a request with a key may be refused with, beside what it is refused with anyhow.
REFUSALS = ("request_in_progress", "idempotency_key_reused")


async def accepted_once(
    request: Request,
    state: GatewayState,
    tenant: str,
    body: dict[str, Any] | None,
    act: Callable[[Within | None], Awaitable[Job]],
) -> JSONResponse:
    """The answer to a POST that makes or changes a job by ``act``; with a key, what was answered to it before.

    ``act`` is given what must happen in the transaction that it writes the job in.
    """
    key = _key(request)
    if key is None:
        return _answer(ACCEPTED, _body(await act(None)))
    begun = await run_in_threadpool(state.idempotency.reserve, tenant, key, _fingerprint(request, body))
    if isinstance(begun, StoredAnswer):
        return _answer(begun.status, begun.body, {"Idempotency-Replayed": "true"})
    try:
        job = await act(partial(_keep, begun))
    except Exception as error:
        # Where the database is away, the answer does not wait for it a second time.
        await run_in_threadpool(state.idempotency.release, begun, now=not _is_away(error))
        raise
    except BaseException:
        # Cancelled, as the service ends: here nothing may be waited for. What is written by now stays.
        state.idempotency.release(begun, now=False)
        raise
    state.idempotency.over(begun)
    return _answer(ACCEPTED, _body(job))


def _is_away(error: Exception) -> bool:
    found = passing(error)
    return found is not None and found.code == "database_unavailable"


def _keep(held: Reservation, connection: Connection, job: Job) -> None:
    keep_answer(connection, held, ACCEPTED, _body(job))


def _body(job: Job) -> dict[str, Any]:
    return shown(job).model_dump(mode="json")


def _answer(status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(body, status, {"Location": body["urls"]["self"], **(headers or {})})


def _key(request: Request) -> str | None:
    """The key of the request, without its quotes; raises ``validation_failed`` for what is none."""
    sent = request.headers.getlist(HEADER)
    if not sent:
        return None
    if len(sent) > 1 or re.fullmatch(FORM, sent[0]) is None:
        text = "an Idempotency-Key is 1 to 255 printable ASCII characters, once, in quotes or bare, as in 8e03978e-40d5"
        raise LayercutError("validation_failed", text, param=HEADER)
    return sent[0].strip('"') if sent[0].startswith('"') else sent[0]


def _fingerprint(request: Request, body: dict[str, Any] | None) -> str:
    """Of method, address and body; the order of a body's fields is no difference."""
    whole = [request.method, request.url.path, request.url.query, body]
    return hashlib.sha256(json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
