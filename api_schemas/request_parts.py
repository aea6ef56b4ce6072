"""What the parts of a request have in common."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]

# As an enum of one: a client that is generated takes a const beside other types for the only value there is.
Auto = Annotated[Literal["auto"], WithJsonSchema({"type": "string", "enum": ["auto"]})]


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


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
