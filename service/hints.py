"""What would have been right, said beside what is wrong with a body: near names, the place of a field, quotes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from api_schemas.labels import as_number
from api_schemas.names import LONGEST, hint, loose, near
from api_schemas.pruning import PruneSpec
from api_schemas.recovery import RecoverySpec
from api_schemas.request_parts import OrString

#: What pydantic calls a value that should have been no text.
NO_TEXT = ("int_type", "float_type", "bool_type")


def with_hint(model: type[BaseModel], detail: dict[str, Any]) -> dict[str, Any]:
    """``detail`` of pydantic, placed in the body, without what was sent and with a ``hint`` where there is one."""
    place, sent = detail["loc"], detail.pop("input")
    if detail["type"] == "model_type" and (part := _part(model, place)) is not None:
        form = "a text or an object" if issubclass(part, (OrString, PruneSpec, RecoverySpec)) else "an object"
        detail["msg"] = f"it must be {form}; the fields of the object: {', '.join(_fields(part))}"
    if detail["type"] == "extra_forbidden":
        detail["msg"] = f"unknown field {str(place[-1])[:LONGEST]!r}; {_known(model, place)}"
    if isinstance(sent, str) and (said := _of_text(detail, sent)):
        detail["hint"] = said
    return {**detail, "loc": ("body", *place)}


def _of_text(detail: dict[str, Any], sent: str) -> str:
    if detail["type"] in NO_TEXT and (as_number(sent) is not None or sent in ("true", "false")):
        return "send it without quotes"
    if detail["type"] == "literal_error":
        # How pydantic lists the words of a Literal: 'a', 'b' or 'c'.
        close = near(sent, detail["ctx"]["expected"].replace("' or '", "', '").strip("'").split("', '"))
        return f"did you mean {' or '.join(close)}?" if close else ""
    return ""


def _known(model: type[BaseModel], place: tuple[str | int, ...]) -> str:
    """Where a field that is not known may belong: near ones of its own part go before the same name elsewhere."""
    name = str(place[-1])[:LONGEST]
    part = _part(model, place[:-1])
    fields = list(_fields(part)) if part else []
    elsewhere = [path for path in _paths(model) if loose(path.rpartition(".")[2]) == loose(name)]
    return f"did you mean {' or '.join(elsewhere[:3])}?" if elsewhere and not near(name, fields) else hint(name, fields)


def _paths(model: type[BaseModel], beneath: str = "") -> Iterator[str]:
    for name, field in _fields(model).items():
        yield f"{beneath}{name}"
        if (part := _model_of(field)) is not None:
            yield from _paths(part, f"{beneath}{name}.")


def _part(model: type[BaseModel], place: tuple[str | int, ...]) -> type[BaseModel] | None:
    """The model that stands at ``place`` inside ``model``."""
    for part in place:
        if isinstance(part, int):  # of a list, whose members were found with it
            continue
        found = _model_of(_fields(model)[part])
        if found is None:
            return None
        model = found
    return model


def _model_of(field: FieldInfo) -> type[BaseModel] | None:
    # A field that may be null is a union.
    members = [one for one in (field.annotation, *get_args(field.annotation)) if isinstance(one, type)]
    return next((one for one in members if issubclass(one, BaseModel)), None)


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """By the names that a body has for them."""
    return {field.alias or name: field for name, field in model.model_fields.items()}
