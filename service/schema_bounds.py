"""What the OpenAPI document says of strings beyond what the models say: what a request may hold anywhere, and names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

#: A database could not hold a NUL character, nor half of a surrogate pair (which a UTF-8 text does not have).
NO_NUL = "^[^\\u0000]*$"

#: Nothing has a longer name, so that what is longer is not found; two of them fit into the path that is read.
LONGEST_IN_PATH = 900

BODIES = (
    "JobRequest", "JobsToCancel", "PlanRequest", "ApiKeyRequest", "WebhookRequest", "WebhookChange", "UploadRequest",
)  # fmt: skip


#: Parts that may be sent as a plain string: the property that it stands for.
SHORT = {"ModelRef": "id", "TaskSpec": "name", "PairsSpec": "name", "JobWebhook": "url"}


def bound_strings(document: Schema) -> None:
    """Add to ``document`` what every string of a request's body keeps to, and how parameters are written."""
    schemas = document["components"]["schemas"]
    for owner, field in SHORT.items():
        choices = schemas[owner]["anyOf"]
        schemas[owner]["anyOf"] = [*_strings_of(_object_of(schemas[owner])["properties"][field]), choices[-1]]
    _name_enums(schemas)
    for name in _reached(schemas, BODIES):
        for schema in _within(schemas[name]):
            _bound(schema)
            _drop_default_part(schema)
            _leave_out_null(schema)
    operations = (operation for path in document["paths"].values() for operation in path.values())
    for parameter in (parameter for operation in operations for parameter in operation.get("parameters", ())):
        parameter["schema"] = _without_null(parameter["schema"])
        _bound(parameter["schema"])
        if parameter["in"] == "path":
            parameter["schema"].setdefault("maxLength", LONGEST_IN_PATH)


def _name_enums(schemas: Schema) -> None:
    """Each enum of a table's names stands once, under its own title: so is the type in a client that is generated."""
    named: dict[str, Schema] = {}
    for schema in _within(schemas):
        for choice in schema.get("anyOf", ()):
            if "enum" in choice and "title" in choice:
                named[choice["title"]] = dict(choice)
                title = choice["title"]
                choice.clear()
                choice["$ref"] = f"#/components/schemas/{title}"
    schemas.update(named)


def _bound(schema: Schema) -> None:
    if schema.get("type") == "string" and not {"pattern", "enum", "const"} & set(schema):
        schema["pattern"] = NO_NUL
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        schema.setdefault("propertyNames", {}).setdefault("pattern", NO_NUL)


def _drop_default_part(schema: Schema) -> None:
    """What is left out is its part's defaults, which stand there. Of a part that may be a text too, a client that is
    generated would send the object that stands here as a text.
    """
    if isinstance(schema.get("default"), dict):
        del schema["default"]


def _leave_out_null(schema: Schema) -> None:
    """What may be left out and never be null has null as its default in the model alone."""
    for inner in schema.get("properties", {}).values():
        if "default" in inner and inner["default"] is None and "anyOf" not in inner and inner.get("type") != "null":
            del inner["default"]


def _without_null(schema: Schema) -> Schema:
    """A parameter is there or is not: it is never null."""
    if "anyOf" not in schema:
        return schema
    choices = [choice for choice in schema["anyOf"] if choice.get("type") != "null"]
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    return {**choices[0], **rest} if len(choices) == 1 else {**rest, "anyOf": choices}


def _reached(schemas: Schema, names: tuple[str, ...]) -> set[str]:
    """The schemas that ``names`` are made of, themselves too."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += [
                ref.rsplit("/", 1)[-1] for part in _within(schemas[name]) if isinstance(ref := part.get("$ref"), str)
            ]
    return found


def _within(value: Any) -> Iterator[Schema]:
    if isinstance(value, dict):
        yield value
        for name, inner in value.items():
            if name not in ("default", "examples", "propertyNames"):
                yield from _within(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _within(inner)


def _object_of(schema: Schema) -> Schema:
    """The object's side of a part that may also be sent as a plain string, whose names are the same."""
    return next((choice for choice in schema.get("anyOf", ()) if choice.get("type") == "object"), schema)


def _strings_of(schema: Schema) -> list[Schema]:
    """What a property may be as a string, each in a schema of its own."""
    strings = [dict(choice) for choice in schema.get("anyOf", [schema]) if choice.get("type") == "string"]
    return [{key: value for key, value in one.items() if key != "description"} for one in strings]
