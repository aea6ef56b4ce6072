"""The form of a study: lists, of which every combination is a cell. Which field stands for what, there and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.pages.fields import (
    REST,
    Body,
    Field,
    body_of,
    lines,
    listed_text,
    number,
    numbers,
    pairs,
    pairs_text,
    plain_text,
    put,
    rest_text,
    take,
    values_of,
    words,
)
from service.pages.visits import Form


def _as_lines(value: Any) -> str | None:
    values = value if isinstance(value, list) else [value]
    found = [plain_text(one) for one in values]
    return None if None in found else "\n".join(str(one) for one in found)


LISTS = (
    Field("models", ("models",), lines, _as_lines),
    Field("drops", ("drops",), numbers, listed_text),
    Field("seeds", ("seeds",), numbers, listed_text),
)
BUDGET = (
    Field("jobs", ("budget", "jobs"), number),
    Field("minutes", ("budget", "minutes"), number),
    Field("gpu_hours", ("budget", "gpu_hours"), number),
)
WHOLE = (
    *LISTS,
    *BUDGET,
    Field("name", ("name",)),
    Field("impossible", ("impossible",)),
    Field("priority", ("job", "priority"), number),
    Field("metadata", ("job", "metadata"), pairs, pairs_text),
)
#: What cells that are added have as the study has it.
_OF_ALL = frozenset({"name", "job", "budget", "impossible", "stop_early"})
#: Lists of boxes.
BOXES = ("tasks", "strategies", "recoveries", "efforts")
#: A table of one's own is one more task.
TABLE = (
    Field("dataset", ("dataset",)),
    Field("text_columns", ("text_columns",), words, listed_text),
    Field("label_column", ("label_column",)),
)
#: Beside which field it stands what is wrong with a part of the body.
PLACES = (
    *((f"/{'/'.join(field.path)}", field.name) for field in WHOLE),
    *((f"/{name}", name) for name in BOXES),
    ("/budget", "jobs"),
    # What is refused within one of a list is told as of a job.
    ("/model", "models"),
    ("/task", "tasks"),
    ("/prune", "strategies"),
    ("/recovery", "recoveries"),
    ("/stop_early", "stop_early"),
    (f"/{REST}", REST),
)
#: That have a place for what is wrong with them.
ANSWERED = tuple(dict.fromkeys(name for _, name in PLACES if name != "stop_early"))


def lists_of(form: Form) -> Body:
    """The lists alone: the body of ``POST /v1/studies/{id}/cells``."""
    body = _with_boxes(body_of(LISTS, form), form)
    return {name: value for name, value in body.items() if name not in _OF_ALL}


def request_of(form: Form) -> Body:
    """The body of ``POST /v1/studies`` that the form stands for."""
    body = _with_boxes(body_of(WHOLE, form), form)
    if form.get("stop_early"):
        body["stop_early"] = True
    return body


def budget_of(form: Form) -> Body:
    """The body of ``POST /v1/studies/{id}/resume``: without a budget, the same anew."""
    body = body_of(BUDGET, form)
    if form.get("retry_failed"):
        body["retry_failed"] = True
    return body


def _with_boxes(body: Body, form: Form) -> Body:
    table = body_of(TABLE, Form(tuple(pair for pair in form.fields if pair[0] != REST)))
    for name in BOXES:
        chosen: list[Any] = [value for value in form.all(name) if value]
        if name == "tasks" and table.get("dataset"):
            chosen.append(table)
        if chosen:
            put(body, (name,), chosen)
    return body


def form_of(request: Mapping[str, Any]) -> Form:
    """The form filled in with a study's request; what has no field of its own stands in `rest`."""
    values, left = values_of(WHOLE, request)
    chosen: list[tuple[str, str]] = []
    for name in BOXES:
        found = take(left, (name,))
        listed = found if isinstance(found, list) else [found]
        shown = [value for value in map(_name, listed) if value]
        if len(shown) == len(listed):
            chosen += [(name, value) for value in shown]
        elif found is not None:
            put(left, (name,), found)
    if take(left, ("stop_early",)):
        chosen.append(("stop_early", "yes"))
    values[REST] = rest_text(left)
    return Form((*values.items(), *chosen))


def _name(value: Any) -> str | None:
    """Of a choice that is no more than its name."""
    if isinstance(value, dict) and list(value) in (["name"], ["method"]):
        value = next(iter(value.values()))
    return value if isinstance(value, str) else None
