"""JSON bodies, read raw: counted while they stream in, forgiving about curl's media type, strict about the JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from difflib import get_close_matches
from email.message import Message
from typing import Annotated, Any, NoReturn, TypeVar, get_args

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from starlette.concurrency import run_in_threadpool

from api_schemas.errors import LayercutError
from api_schemas.pruning import PruneSpec
from api_schemas.request_parts import OrString
from service.problems import InvalidBody
from sources.strict_json import is_deep

Body = TypeVar("Body", bound=BaseModel)

# `curl -d` says form, and some clients say text or nothing at all; what counts is whether it is JSON.
READ_AS_JSON = frozenset({"", "application/json", "application/x-www-form-urlencoded", "text/plain"})

LARGE = 64 * 1024

#: In one body. A thousand labels and, for two stacks, all the lists of layers that go together have five thousand; a
#: megabyte has room for five hundred thousand, each of which costs memory, and an error where it is wrong.
MAX_VALUES = 6_000
#: Lists and objects in each other. The deepest of a request is four.
MAX_DEPTH = 32

#: That are told; each unknown field costs a search for the near ones.
MAX_ERRORS = 50
#: Of a field's name, in characters: where it is longer, it is near to none of ours.
MAX_NAME = 80

#: Of half a surrogate pair, or NUL.
_ODD_ESCAPES = re.compile(rb"\\u(0000|[dD][89a-fA-F])")

TOO_DEEP = f"it is nested too deeply: lists and objects stand in each other {MAX_DEPTH} deep at most"


async def _read_json(request: Request) -> dict[str, Any]:
    return await read_json(request)


async def read_json(request: Request, *, right: str = "application/json") -> dict[str, Any]:
    """The object that the body is. Raises ``unsupported_media_type``, with what is ``right``, ``payload_too_large`` and
    ``malformed_request``.
    """
    _check_media_type(request.headers.get("content-type", ""), right)
    raw = await _read(request, request.app.state.gateway.settings.max_body_bytes)
    # A large one takes tens of milliseconds, in which the event loop would serve nobody.
    return parse_json(raw) if len(raw) < LARGE else await run_in_threadpool(parse_json, raw)


JsonBody = Annotated[dict[str, Any], Depends(_read_json)]


def parse_json(raw: bytes) -> dict[str, Any]:
    """The object that ``raw`` is; raises ``malformed_request`` for all that a database could not hold either."""
    if not raw.strip():
        raise LayercutError("malformed_request", "the body is empty; send a JSON object")
    _check_values(raw)
    try:
        value = json.loads(raw.decode("utf-8-sig"), parse_constant=_not_json, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise LayercutError("malformed_request", f"the body is not UTF-8: byte {error.start} is wrong") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise LayercutError("malformed_request", f"the body is not JSON: {error.msg} at {where}") from error
    except (ValueError, RecursionError) as error:
        text = TOO_DEEP if isinstance(error, RecursionError) else str(error)
        raise LayercutError("malformed_request", f"the body cannot be read: {text}") from error
    if is_deep(value, MAX_DEPTH):
        raise LayercutError("malformed_request", f"the body cannot be read: {TOO_DEEP}")
    if not isinstance(value, dict):
        raise LayercutError("malformed_request", 'the body must be a JSON object, as in {"model": ...}')
    # What is no escape was UTF-8, and has none of these: most bodies need no second look.
    for text in _texts(value) if _ODD_ESCAPES.search(raw) else ():
        _check_text(text)
    return value


def validated(model: type[Body], value: dict[str, Any]) -> Body:
    """``value`` as a ``model``; raises ``InvalidBody`` with the fields that are wrong, not with what they hold."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        # That a field might have been null as well helps nobody.
        found = [one for one in error.errors(include_url=False, include_input=False) if one["type"] != "none_required"]
        details = [_with_hint(model, dict(detail)) for detail in found[:MAX_ERRORS]]
        more = len(found) - len(details)
    # Outside, so that the error, which holds all of them again, goes before they are rendered.
    raise InvalidBody(details, body=value, more=more)


def _check_values(raw: bytes) -> None:
    """Before it is parsed: what it would cost is known from its commas and brackets, those in texts aside."""
    if _marks(raw) >= MAX_VALUES and _has_many_values(raw):
        raise LayercutError("payload_too_large", f"the body has more than {MAX_VALUES} values; no request has as many")


def _has_many_values(raw: bytes) -> bool:
    plain = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Each value has a name at most.
    return plain.count(b'"') > 4 * MAX_VALUES or _marks(b"".join(plain.split(b'"')[::2])) >= MAX_VALUES


def _marks(raw: bytes) -> int:
    return sum(map(raw.count, (b",", b"[", b"{")))


async def _read(request: Request, limit: int) -> bytes:
    # A length that is announced is refused before a byte is read; one that is not is counted.
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > limit:
        _too_large(limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            _too_large(limit)
    return bytes(body)


def _too_large(limit: int) -> NoReturn:
    raise LayercutError("payload_too_large", f"the body is larger than {limit} bytes")


def _check_media_type(header: str, right: str) -> None:
    message = Message()
    message["content-type"] = header
    kind = message.get_content_type() if header.strip() else ""
    if kind not in READ_AS_JSON and not (kind.startswith("application/") and kind.endswith("+json")):
        raise LayercutError("unsupported_media_type", f"the body is {kind}; send {right}")


def _not_json(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]} is too large")
    return value


def _texts(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting.extend([*item.keys(), *item.values()])
        elif isinstance(item, list):
            waiting.extend(item)


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise LayercutError("malformed_request", "the body has half of a surrogate pair in a string") from error
    if "\0" in text:
        raise LayercutError("malformed_request", "the body has a NUL character in a string")


def _with_hint(model: type[BaseModel], detail: dict[str, Any]) -> dict[str, Any]:
    """``detail`` placed in the body; an unknown field is answered with the near ones, and what should be an object with
    the fields that it has.
    """
    place = detail["loc"]
    if detail["type"] == "model_type" and (part := _part(model, place)) is not None:
        form = "a text or an object" if issubclass(part, (OrString, PruneSpec)) else "an object"
        detail["msg"] = f"it must be {form}; the fields of the object: {', '.join(_fields(part))}"
    if detail["type"] == "extra_forbidden":
        known = list(_fields(found)) if (found := _part(model, place[:-1])) else []
        near = get_close_matches(str(place[-1])[:MAX_NAME], known, n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
        detail["msg"] = f"unknown field {str(place[-1])[:MAX_NAME]!r}; {hint}"
    return {**detail, "loc": ("body", *place)}


def _part(model: type[BaseModel], place: tuple[str | int, ...]) -> type[BaseModel] | None:
    """The model that stands at ``place`` inside ``model``."""
    for part in place:
        if isinstance(part, int):  # of a list, whose members were found with it
            continue
        annotation = _fields(model)[part].annotation
        # A field that may be null is a union.
        members = [one for one in (annotation, *get_args(annotation)) if isinstance(one, type)]
        found = next((one for one in members if issubclass(one, BaseModel)), None)
        if found is None:
            return None
        model = found
    return model


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """By the names that a body has for them."""
    return {field.alias or name: field for name, field in model.model_fields.items()}
