"""Fields of a form, and the JSON that they stand for: there and back. What is wrong is for the API to say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from api_schemas.errors import FieldError, LayercutError
from service.bodies import parse_json
from service.pages.visits import Form

Body = dict[str, Any]
#: What stands in a form, by the names of its fields.
Values = dict[str, str]

#: What no field of its own has: JSON, over which the other fields go.
REST = "rest"


def number(text: str) -> Any:
    """What is none goes on as text: the API says what would be right."""
    for kind in (int, float):
        try:
            found = kind(text)
        except ValueError:
            continue
        return found if abs(found) < 10**15 else text  # NaN is not
    return text


def words(text: str) -> list[str]:
    """What stands between commas or on lines of its own."""
    return [part.strip() for line in text.splitlines() for part in line.split(",") if part.strip()]


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def numbers(text: str) -> list[Any]:
    return [number(word) for word in words(text)]


def pairs(text: str) -> dict[str, str]:
    """Of `key=value` a line; what has no `=` is a key with nothing."""
    return {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines(text))}


def plain_text(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return f"{value:g}" if isinstance(value, float) else str(value)


def listed_text(value: Any) -> str | None:
    values = value if isinstance(value, list) else [value]
    found = [plain_text(one) for one in values]
    return None if None in found else ", ".join(str(one) for one in found)


def pairs_text(value: Any) -> str | None:
    if not isinstance(value, dict):
        return None
    return "\n".join(f"{key}={one}" for key, one in value.items())


@dataclass(frozen=True)
class Field:
    """``path`` is where it stands in the body. ``shown``: as the form has it; None for what no text can say."""

    name: str
    path: tuple[str, ...]
    read: Callable[[str], Any] = str
    shown: Callable[[Any], str | None] = plain_text


def put(body: Body, path: Sequence[str], value: Any) -> None:
    """What is no object on the way stands for its first field, and gives way."""
    *way, last = path
    for part in way:
        inner = body.get(part)
        if not isinstance(inner, dict):
            inner = body[part] = {}
        body = inner
    body[last] = value


def take(body: Body, path: Sequence[str]) -> Any:
    """What stands there, and is there no more; None where nothing is."""
    way: list[Body] = []
    value: Any = body
    for part in path:
        if not isinstance(value, dict) or part not in value:
            return None
        way.append(value)
        value = value[part]
    del way[-1][path[-1]]
    for at in range(len(path) - 1, 0, -1):  # what is empty now goes too
        if not way[at]:
            del way[at - 1][path[at - 1]]
    return value


def body_of(fields: Iterable[Field], form: Form) -> Body:
    """Over what ``rest`` holds, all fields that are filled in. Raises ``malformed_request`` for what is no JSON."""
    body = rest_of(form.get(REST))
    for field in fields:
        if text := form.get(field.name):
            put(body, field.path, field.read(text))
    return body


def rest_of(text: str) -> Body:
    if not text:
        return {}
    try:
        return parse_json(text.encode())
    except LayercutError as error:
        raise LayercutError(error.code, error.message, param=f"/{REST}") from None


def values_of(fields: Iterable[Field], body: Mapping[str, Any]) -> tuple[Values, Body]:
    """What the form shows of ``body``, and what it has no field for."""
    left, values = deepcopy(dict(body)), {}
    for field in fields:
        value = take(left, field.path)
        text = None if value is None else field.shown(value)
        if text is not None:
            values[field.name] = text
        elif value is not None:
            put(left, field.path, value)
    return values, left


def rest_text(left: Body) -> str:
    return json.dumps(left, indent=2, ensure_ascii=False) if left else ""


@dataclass(frozen=True)
class Wrong:
    """What is wrong, by the field that it stands beside; ``others`` of what has none."""

    by_field: Mapping[str, str]
    others: list[str]

    @property
    def any(self) -> bool:
        return bool(self.by_field or self.others)


#: Nothing is.
RIGHT = Wrong({}, [])


def wrong_of(message: str, errors: Sequence[FieldError], places: Sequence[tuple[str, str]]) -> Wrong:
    """``places``: beginnings of JSON pointers with the field of each; the longest counts."""
    by_field: dict[str, str] = {}
    others: list[str] = []
    ranked = sorted(places, key=lambda place: -len(place[0]))
    for error in errors:
        pointer = error.pointer or ""
        field = next((name for start, name in ranked if pointer == start or pointer.startswith(f"{start}/")), None)
        if field is None:
            others.append(f"{pointer}: {error.message}" if pointer else error.message)
        else:
            by_field[field] = f"{by_field[field]}; {error.message}" if field in by_field else error.message
    return Wrong(by_field, others if errors else [message])
