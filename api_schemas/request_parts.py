"""What the parts of a request have in common."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from api_schemas.names import NameOf

Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]

#: Where what is too small or too large is refused by its meaning, in words: no more than a database takes.
Whole = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]
Positive = Annotated[int, Field(ge=1, le=2**31 - 1)]
#: Of a model; none has a quadrillion.
Parameters = Annotated[int, Field(ge=1, le=10**15)]

LONGEST_NAME = 200
Name = Annotated[str, Field(max_length=LONGEST_NAME)]
#: A column of a table.
Column = Annotated[str, Field(max_length=1000)]
#: As Linux has it: PATH_MAX.
DataPath = Annotated[str, Field(max_length=4096)]

# As an enum of one: a client that is generated takes a const beside other types for the only value there is.
Auto = Annotated[Literal["auto"], WithJsonSchema({"type": "string", "enum": ["auto"]})]


_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ].{1,50}", re.DOTALL)


def _moment_text(value: Any) -> Any:
    """A number is a time to pydantic, and so is a bare date."""
    if not isinstance(value, str) or _MOMENT.fullmatch(value) is None:
        raise ValueError("a time is a text with its zone, as in 2026-11-29T12:00:00Z")
    return value


#: RFC 3339, with a zone.
Moment = Annotated[
    AwareDatetime,
    Field(strict=False),
    BeforeValidator(_moment_text),
    WithJsonSchema({"type": "string", "format": "date-time", "maxLength": 61}),
]


class Request(BaseModel):
    """What all that a client sends is made of: no unknown field, and each value of its own type.

    Without ``strict``, "inf" would be a number and true would be 1. A float may be sent as a whole number.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class OneOrMore:
    """Of a list in a request: one of what it holds may be sent by itself."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_as_list, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        several = handler(core)
        return {"anyOf": [several, several["items"]]}


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, (str, int)) and not isinstance(value, bool) else value


class OrText:
    """Of a part whose model reads a text too, a name: the schema of a request says so. What is answered is always the
    object, and so is the schema of that.
    """

    def __init__(self, name: NameOf) -> None:
        self.name = name

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        # Any text too, as of every name. And a client's generator refuses a default beside an enum and an object alone.
        return {"anyOf": [self.name.schema, {"type": "string", "maxLength": LONGEST_NAME}, handler(core)]}


class OrString(Request):
    """A part that may also be sent as a plain string; the schema says so."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core)
        named = handler.resolve_ref_schema(schema)
        whole = dict(named)
        named.clear()
        named.update({"anyOf": [{"type": "string", "minLength": 1}, whole], "title": cls.__name__})
        return schema
