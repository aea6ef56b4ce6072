"""What the OpenAPI document says of strings beyond what the models say: what a request may hold anywhere, and names.

Names of the tables are patterns here and no enums: a client that is generated would make a type of each enum, and
would not take the name that the next version adds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from api_schemas.metrics import METRICS
from api_schemas.strategies import STRATEGIES
from api_schemas.task_kinds import TASK_KINDS, kinds_with
from api_schemas.tasks import TASKS

Schema = dict[str, Any]

#: A database could not hold a NUL character, nor half of a surrogate pair (which a UTF-8 text does not have).
NO_NUL = "^[^\\u0000]*$"

#: Nothing has a longer name, so that what is longer is not found; two of them fit into the path that is read.
LONGEST_IN_PATH = 900

BODIES = ("JobRequest", "PlanRequest", "ApiKeyRequest", "WebhookRequest", "WebhookChange", "UploadRequest")


def _one_of(*names: str) -> str:
    return f"^({'|'.join(map(re.escape, names))})$"


#: The names of tables, by schema and property.
NAMES = {
    ("TaskSpec", "name"): _one_of(*TASKS, "none"),
    ("TaskSpec", "metric"): _one_of(*(name for name in METRICS if kinds_with(name))),
    ("TaskSpec", "kind"): _one_of(*TASK_KINDS, "auto"),
    ("PairsSpec", "name"): _one_of(*(row.name for row in TASKS.values() if row.kind == "regression")),
    ("PruneSpec", "strategy"): _one_of(*STRATEGIES),
}

#: Parts that may be sent as a plain string: the property that it stands for.
SHORT = {"ModelRef": "id", "TaskSpec": "name", "PairsSpec": "name", "JobWebhook": "url"}


def bound_strings(document: Schema) -> None:
    """Add to ``document`` what every string of a request's body keeps to, and how parameters are written."""
    schemas = document["components"]["schemas"]
    for (owner, field), pattern in NAMES.items():
        _string_of(_object_of(schemas[owner])["properties"][field])["pattern"] = pattern
    for owner, field in SHORT.items():
        named = _string_of(_object_of(schemas[owner])["properties"][field])
        _string_of(schemas[owner]).update({key: named[key] for key in ("pattern", "maxLength")})
    for name in _reached(schemas, BODIES):
        for schema in _within(schemas[name]):
            _bound(schema)
    operations = (operation for path in document["paths"].values() for operation in path.values())
    for parameter in (parameter for operation in operations for parameter in operation.get("parameters", ())):
        parameter["schema"] = _without_null(parameter["schema"])
        _bound(parameter["schema"])
        if parameter["in"] == "path":
            parameter["schema"].setdefault("maxLength", LONGEST_IN_PATH)


def _bound(schema: Schema) -> None:
    if schema.get("type") == "string" and not {"pattern", "enum", "const"} & set(schema):
        schema["pattern"] = NO_NUL
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        schema.setdefault("propertyNames", {}).setdefault("pattern", NO_NUL)


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


def _string_of(schema: Schema) -> Schema:
    return next((choice for choice in schema.get("anyOf", ()) if choice.get("type") == "string"), schema)
