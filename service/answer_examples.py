"""An example of each answer, for the OpenAPI document: what a gateway has answered, kept by `make openapi`.

They stand in ``service/examples/answers.json``, by operation and status; ``demo/answers.py`` asks for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("examples") / "answers.json"

#: Bytes, texts and streams of which an example says nothing that the description does not.
WITHOUT = ("application/octet-stream", "text/event-stream", "image/svg+xml", "image/png")


def add_answers(document: dict[str, Any]) -> None:
    """Give each answer of ``document`` its example, where there is one."""
    kept = answers()
    for key, content in answered(document):
        if key in kept:
            content["example"] = kept[key]


def answers() -> dict[str, Any]:
    """By operation, status and media type, as in ``get_job 200 application/json``."""
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def answered(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The content of each answer that is no problem, with its key."""
    for methods in document["paths"].values():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                for kind, content in response.get("content", {}).items():
                    if kind not in WITHOUT and "problem" not in kind:
                        yield f"{operation['operationId']} {status} {kind}", content
