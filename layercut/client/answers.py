"""What came, as the models of ``api_schemas``: fields that this version does not know are passed over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, TypeAdapter, ValidationError

from layercut.client.errors import InvalidAnswer
from layercut.client.retries import expect
from layercut.client.steps import Answer

Shown = TypeVar("Shown", bound=BaseModel)

JSON = "application/json"

_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)


def as_model(kind: type[Shown], answer: Answer) -> Shown:
    """Raises ``InvalidAnswer``."""
    expect(answer, JSON)
    try:
        return kind.model_validate_json(answer.body)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, wrong["loc"]))
        raise InvalidAnswer(
            f"{answer.request}: what came is no {kind.__name__} of this version: {place}: {wrong['msg']}"
        ) from None


def body_of(given: BaseModel | Mapping[str, Any] | None, fields: Mapping[str, Any]) -> bytes:
    """JSON of a request model or a mapping, with ``fields`` over it; of models, what was set alone."""
    whole = dict(to_json(given) or {}) | to_json(dict(fields))
    return _ANYTHING.dump_json(whole)


def to_json(value: Any) -> Any:
    return _ANYTHING.dump_python(value, mode="json", exclude_unset=True, by_alias=True)


def path_of(*parts: str) -> str:
    """Of the API, with each part as one segment, whatever is in it. Raises ``ValueError`` for one that is empty, as an
    unset variable is: it would be the address of something else.
    """
    if not all(parts):
        raise ValueError("an id is missing: what was given is empty")
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)
