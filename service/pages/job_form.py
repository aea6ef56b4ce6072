"""The form of a job: which field stands for what of a ``JobRequest``, there and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.pages.fields import (
    REST,
    Body,
    Field,
    Values,
    body_of,
    listed_text,
    number,
    numbers,
    pairs,
    pairs_text,
    put,
    rest_text,
    take,
    values_of,
    words,
)
from service.pages.visits import Form

FIELDS = (
    Field("model", ("model", "id")),
    Field("revision", ("model", "revision")),
    Field("strategy", ("prune", "strategy")),
    Field("method", ("recovery", "method")),
    Field("effort", ("recovery", "effort")),
    Field("epochs", ("recovery", "epochs"), number),
    Field("learning_rate", ("recovery", "learning_rate"), number),
    Field("batch_size", ("recovery", "batch_size"), number),
    Field("max_length", ("recovery", "max_length"), number),
    Field("margin", ("evaluation", "margin"), number),
    Field("batch_sizes", ("evaluation", "latency", "batch_sizes"), numbers, listed_text),
    Field("sequence_lengths", ("evaluation", "latency", "sequence_lengths"), numbers, listed_text),
    Field("dtype", ("export", "dtype")),
    Field("seed", ("seed",), number),
    Field("priority", ("priority",), number),
    Field("suffix", ("suffix",)),
    Field("metadata", ("metadata",), pairs, pairs_text),
)
#: Of a table of one's own.
TABLE = (
    Field("dataset", ("task", "dataset")),
    Field("dev", ("task", "dev")),
    Field("text_columns", ("task", "text_columns"), words, listed_text),
    Field("label_column", ("task", "label_column")),
    Field("kind", ("task", "kind")),
)
NAMED = (Field("task", ("task", "name")),)

#: How much goes: what `amount` says, where its value stands, and how that is read.
AMOUNTS: dict[str, Field] = {
    "drop": Field("value", ("prune", "drop"), number),
    "drop_ratio": Field("value", ("prune", "drop_ratio"), number),
    "min_retention": Field("value", ("prune", "objective", "min_retention"), number),
    "drop_layers": Field("value", ("prune", "drop_layers"), numbers, listed_text),
    "keep_layers": Field("value", ("prune", "keep_layers"), numbers, listed_text),
    "target_params": Field("value", ("prune", "target_params"), number),
}
FORMATS = ("export", "formats")

#: What stands for an object by itself: a model, a task, a strategy, a method.
_SHORT = {"model": "id", "task": "name", "prune": "strategy", "recovery": "method"}

#: Beside which field it stands what is wrong with a part of the body.
PLACES = (
    *((f"/{'/'.join(field.path)}", field.name) for field in (*FIELDS, *TABLE, *NAMED)),
    *((f"/{'/'.join(field.path)}", "value") for field in AMOUNTS.values()),
    ("/prune/objective", "value"),
    ("/export/formats", "formats"),
    ("/model", "model"),
    ("/task", "task"),
    ("/prune", "strategy"),
    ("/recovery", "method"),
    (f"/{REST}", REST),
)
#: Fields of a table, where one is what the task is.
PLACES_OF_TABLE = (*PLACES, ("/task", "dataset"))

#: That have a place for what is wrong with them; and all fields.
ANSWERED = (*dict.fromkeys(name for _, name in PLACES), "amount")
NAMES = (*ANSWERED, "source")


def is_table(form: Form) -> bool:
    return form.get("source") == "table"


def request_of(form: Form) -> Body:
    """The body of ``POST /v1/jobs`` that the form stands for."""
    body = body_of((*FIELDS, *(TABLE if is_table(form) else NAMED)), form)
    amount = AMOUNTS.get(form.get("amount"))
    if amount is not None:
        # What is not said is told beside the field, and not taken for the default.
        put(body, amount.path, amount.read(form.get("value")))
    if formats := [name for name in form.all("formats") if name]:
        put(body, FORMATS, formats)
    _shorten(body)
    return body


def _shorten(body: Body) -> None:
    """As people write it: `"task": "sst2"`. An error in it is then told of the part, and not of a field in it."""
    for part, field in _SHORT.items():
        inner = body.get(part)
        if isinstance(inner, dict) and list(inner) == [field]:
            body[part] = inner[field]


def places_of(form: Form) -> tuple[tuple[str, str], ...]:
    return tuple(place for place in PLACES_OF_TABLE if place != ("/task", "task")) if is_table(form) else PLACES


def form_of(request: Mapping[str, Any]) -> Form:
    """The form filled in with a job's request; what has no field of its own stands in `rest`."""
    body = dict(request)
    for part, field in _SHORT.items():
        if isinstance(body.get(part), str):
            body[part] = {field: body[part]}
    task = body.get("task")
    own = isinstance(task, dict) and task.get("dataset") is not None
    values, left = values_of((*FIELDS, *(TABLE if own else NAMED)), body)
    values["source"] = "table" if own else "named"
    values |= _amount(left)
    formats = take(left, FORMATS)
    chosen = [name for name in formats if isinstance(name, str)] if isinstance(formats, list) else []
    values[REST] = rest_text(left)
    return Form((*values.items(), *(("formats", name) for name in chosen)))


def _amount(left: Body) -> Values:
    for name, field in AMOUNTS.items():
        value = take(left, field.path)
        text = None if value is None else field.shown(value)
        if text is not None:
            return {"amount": name, "value": text}
        if value is not None:  # a value for each of two lists of layers
            put(left, field.path, value)
    return {}
