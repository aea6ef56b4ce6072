"""One translator: whatever goes wrong is answered as ``application/problem+json`` with the request's id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from api_schemas.errors import ERRORS, FieldError, LayercutError, Problem, problem
from service.edge.methods import Methods
from service.edge.root_path import address, own_path

MEDIA_TYPE = "application/problem+json"

# What the framework itself refuses, by status.
FRAMEWORK = {404: "not_found", 405: "method_not_allowed", 413: "payload_too_large", 400: "malformed_request"}

FIELD_CODES = {"extra_forbidden": "unknown_field", "missing": "missing_field"}

RETRY_AFTER_SECONDS = 5

#: Where an upload goes on.
UPLOAD_OFFSET = "Upload-Offset"

# Of an address that a stranger chose.
SHOWN = 200

#: Of one part of a pointer, in characters: a stranger chose it.
LONGEST_PART = 80
#: Of the sentence that lists what is wrong; each stands in ``errors`` as well.
LONGEST_LIST = 3000


class InvalidBody(RequestValidationError):
    """A body whose fields are wrong; ``more`` of them than are told."""

    def __init__(self, errors: Sequence[Any], *, body: Any, more: int = 0) -> None:
        super().__init__(errors, body=body)
        self.more = more


def install_problems(app: FastAPI, methods: Methods) -> None:
    app.state.methods = methods
    app.add_exception_handler(LayercutError, _layercut_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)


def internal_problem(request_id: str) -> Response:
    """The answer to what nobody foresaw. What it was stands in the log, under the same id, and nowhere else."""
    text = f"Something went wrong inside layercut; the log has it under request id {request_id}"
    return _answer(problem(LayercutError("internal", text), request_id=request_id))


def refusal(error: LayercutError, request_id: str) -> Response:
    """The answer to a request that no route has seen."""
    return _answer(problem(error, request_id=request_id))


def request_id_of(request: Request) -> str:
    return str(request.state.request_id)


async def _layercut_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, LayercutError)
    headers = dict(getattr(error, "headers", None) or {})
    if "offset" in error.details:
        headers[UPLOAD_OFFSET] = str(error.details["offset"])
    told = problem(error, request_id=request_id_of(request), errors=getattr(error, "errors", None))
    return _answer(told, headers)


def told_of(error: LayercutError | RequestValidationError) -> tuple[str, list[FieldError]]:
    """The sentence that ``error`` is told with, and the fields that are wrong."""
    if isinstance(error, RequestValidationError):
        errors = _field_errors(error)
        return _listed(error, errors), errors
    errors = getattr(error, "errors", None) or problem(error).errors
    return error.message, errors


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = _field_errors(error)
    told = LayercutError("validation_failed", _listed(error, errors))
    return _answer(problem(told, request_id=request_id_of(request), errors=errors))


def _listed(error: RequestValidationError, errors: Sequence[FieldError]) -> str:
    detail = "; ".join(": ".join(filter(None, (entry.pointer, entry.message))) for entry in errors)[:LONGEST_LIST]
    if isinstance(error, InvalidBody) and error.more:
        detail += f"; and {error.more} errors more"
    return detail


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = FRAMEWORK.get(error.status_code, "internal")
    text = f"{request.method} {request.url.path[:SHOWN]}: {error.detail}"
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = request.app.state.methods.allowed(own_path(request.scope))
    return _answer(problem(LayercutError(code, text), request_id=request_id_of(request)), headers)


def _field_errors(error: RequestValidationError) -> list[FieldError]:
    """One entry a field: a union says what each of its members would have taken."""
    merged: dict[str, FieldError] = {}
    hints: dict[str, str] = {}
    for detail in error.errors():
        # How pydantic begins what a check of ours raised.
        said = detail["msg"].removeprefix("Value error, ")
        where = _pointer(detail["loc"], error.body, missing=detail["type"] == "missing")
        if where in merged:
            merged[where].message += f", or {said.removeprefix('Input should be ')}"
        else:
            code = FIELD_CODES.get(detail["type"], "invalid_value")
            merged[where] = FieldError(pointer=where, message=said, code=code)
        if "hint" in detail:
            hints.setdefault(where, detail["hint"])
    for where, hint in hints.items():
        merged[where].message += f"; {hint}"
    return list(merged.values())


def _pointer(place: tuple[Any, ...], body: Any, *, missing: bool) -> str:
    """JSON pointer into the body, or the parameter's name.

    Pydantic's place goes on into the members of a union: what the body does not have is left out, unless it is the
    field that is ``missing``; a value that is no container ends the pointer.
    """
    if place[0] != "body":
        return str(place[1]) if len(place) > 1 else ""  # one of a list of values has the list's name
    parts, value = [], body
    for part in place[1:]:
        if not isinstance(value, dict | list):
            break
        if not (_has(value, part) or (missing and part == place[-1])):
            continue
        parts.append(_shortened(str(part)).replace("~", "~0").replace("/", "~1"))
        value = value[part] if _has(value, part) else None
    return "".join(f"/{part}" for part in parts)


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_PART else f"{text[:LONGEST_PART]}…"


def _has(value: dict[Any, Any] | list[Any], part: Any) -> bool:
    if isinstance(value, dict):
        return part in value
    return isinstance(part, int) and part < len(value)


def _answer(body: Problem, headers: Mapping[str, str] | None = None) -> Response:
    extra = dict(headers or {})
    if body.status == 401:
        extra["WWW-Authenticate"] = 'Bearer realm="layercut"'
    if ERRORS[body.code].retryable and body.code != "internal":
        extra.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))
    told = body.model_copy(update={"type": address(body.type)})
    return Response(told.model_dump_json(), body.status, extra, media_type=MEDIA_TYPE)
