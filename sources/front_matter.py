"""The front matter of a model card, as YAML of strangers: a field at a time, bounded, no aliases, all of it text."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Any

import yaml

#: A word of the card, or several in a list.
Words = str | list[str]

#: Characters of one field, and the brackets in it.
LONGEST, BRACKETS = 16 * 2**10, 50

FRONT = re.compile(r"\s*---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_KEY = re.compile(r"([A-Za-z_][A-Za-z0-9_-]{0,63}):(?=\s|$)")
_WORD = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._+/-]{0,198}[A-Za-z0-9._+])?")
#: What YAML does not take for text.
_NO_TEXT = frozenset({"null", "true", "false", "yes", "no", "on", "off"})


class _Loader(yaml.BaseLoader):
    """Of YAML what cards are written in: an alias makes gigabytes of a few lines, and `no` is a language."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias")
        return super().compose_node(parent, index)


def fields_of(front: str, wanted: Container[str]) -> dict[str, Any]:
    """The ``wanted`` fields of what stands above a card: strings, lists and mappings of them, None for what is no YAML.

    Beside them may be megabytes of results, which are not read.
    """
    found: dict[str, list[str]] = {}
    lines: list[str] | None = None
    for line in front.splitlines():
        if key := _KEY.match(line):
            lines = found.setdefault(key[1], []) if key[1] in wanted else None
        if lines is not None:
            lines.append(line[key.end() :] if key else line)
    return {name: _read("\n".join(text)) for name, text in found.items()}


def words_of(card: bytes, wanted: Container[str]) -> dict[str, Words]:
    """The ``wanted`` fields with which ``card`` begins, as far as they are a word or a list of words."""
    front = FRONT.match(card.decode("utf-8", "replace"))
    said = fields_of(front[1], wanted) if front else {}
    return {name: value for name, value in said.items() if value and _is_words(value)}


def _is_words(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(one, str) and _WORD.fullmatch(one) for one in value)
    return isinstance(value, str) and bool(_WORD.fullmatch(value)) and value.lower() not in _NO_TEXT


def _read(text: str) -> Any:
    """What the YAML says; None for none, and for what is longer or deeper than any card."""
    if len(text) > LONGEST or sum(map(text.count, "[{?")) > BRACKETS:
        return None
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError, ValueError):
        return None
