"""``Idempotency-Key``: a POST that is sent again is answered again, and done once."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

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

Made = TypeVar("Made")

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

#: What a request with a key may be refused with, beside what it is refused with anyhow.
REFUSALS = ("request_in_progress", "idempotency_key_reused")


@dataclass(frozen=True)
class Answering(Generic[Made]):
    """How what a POST has made is answered: with a status, as what, and where it is."""

    status: int
    body: Callable[[Made], dict[str, Any]]
    location: Callable[[dict[str, Any]], str]

    def answer(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> JSONResponse:
        return JSONResponse(body, status, {"Location": self.location(body), **(headers or {})})

    def keep(self, held: Reservation, connection: Connection, made: Made) -> None:
        keep_answer(connection, held, self.status, self.body(made))


JOB = Answering[Job](202, lambda job: shown(job).model_dump(mode="json"), lambda body: str(body["urls"]["self"]))


async def accepted_once(
    request: Request,
    state: GatewayState,
    body: dict[str, Any] | None,
    act: Callable[[Within | None], Awaitable[Job]],
) -> JSONResponse:
    """The answer to a POST that makes or changes a job by ``act``, as ``answered_once``."""
    return await answered_once(request, state, body, act, JOB)


async def answered_once(
    request: Request,
    state: GatewayState,
    body: dict[str, Any] | None,
    act: Callable[[Callable[[Connection, Made], None] | None], Awaitable[Made]],
    how: Answering[Made],
) -> JSONResponse:
    """The answer to a POST that makes or changes something by ``act``; with a key, what was answered to it before.

    ``act`` is given what must happen in the transaction that it writes that in.
    """
    key = _key(request)
    if key is None:
        return how.answer(how.status, how.body(await act(None)))
    tenant: str = request.state.caller.actor.tenant
    begun = await run_in_threadpool(state.idempotency.reserve, tenant, key, _fingerprint(request, body))
    if isinstance(begun, StoredAnswer):
        return how.answer(begun.status, begun.body, {"Idempotency-Replayed": "true"})
    try:
        made = await act(partial(how.keep, begun))
    except Exception as error:
        # Where the database is away, the answer does not wait for it a second time.
        await run_in_threadpool(state.idempotency.release, begun, now=not _is_away(error))
        raise
    except BaseException:
        # Cancelled, as the service ends: here nothing may be waited for. What is written by now stays.
        state.idempotency.release(begun, now=False)
        raise
    state.idempotency.over(begun)
    return how.answer(how.status, how.body(made))


def _is_away(error: Exception) -> bool:
    found = passing(error)
    return found is not None and found.code == "database_unavailable"


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
