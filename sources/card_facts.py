"""The front matter of a model's README.md, as YAML of strangers: bounded, without aliases, every value text."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import yaml
from pydantic import ValidationError

from api_schemas.cards import CardFacts
from sources.beneath import Folder
from sources.model_card import front_matter

#: Characters of a front matter, those of one field, and the brackets in it.
START, FIELD, BRACKETS = 4 * 2**20, 16 * 2**10, 50
#: Of the languages, datasets and the like that a card may name.
MOST = 100


_KEY = re.compile(r"([A-Za-z_]{1,64}):(?=\s|$)")


class _Loader(yaml.BaseLoader):
    """Of YAML what cards are written in: an alias makes gigabytes of a few lines, and `no` is a language."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias")
        return super().compose_node(parent, index)


def card_facts(folder: Folder) -> CardFacts:
    """What the card of the model in ``folder`` says; nothing where there is none. Whatever is wrong with it is no
    fault: a value that is not as the hub has it is left out.
    """
    said = _fields(front_matter(folder, START))
    return CardFacts(**{name: value for name, text in said.items() if (value := _value(name, _read(text)))})


def _fields(text: str) -> dict[str, str]:
    """The lines of each field that is wanted: beside them may be megabytes of results, which nobody reads here."""
    found: dict[str, list[str]] = {}
    wanted: list[str] | None = None
    for line in text.splitlines():
        if key := _KEY.match(line):
            wanted = found.setdefault(key[1], []) if key[1] in CardFacts.model_fields else None
        if wanted is not None:
            wanted.append(line[key.end() :] if key else line)
    return {name: "\n".join(lines) for name, lines in found.items()}


def _read(text: str) -> Any:
    """What the YAML says; None for none, and for what is longer or deeper than any card."""
    if len(text) > FIELD or sum(map(text.count, "[{?")) > BRACKETS:
        return None
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError, ValueError):
        return None


def _value(name: str, said: Any) -> Any:
    """As the field ``name`` has it, one or many; None for what it cannot have. A bad one of many is left out."""
    if CardFacts.model_fields[name].default is None:
        return said if _fits(name, said) else None
    listed = said if isinstance(said, list) else [said]
    return [*dict.fromkeys(each for each in listed[:MOST] if _fits(name, [each]))]


def _fits(name: str, value: Any) -> bool:
    with suppress(ValidationError):
        CardFacts.model_validate({name: value})
        return True
    return False
