"""What the card of a source model says of it that its smaller model's card says again."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from api_schemas.cards import CardFacts
from sources.beneath import Folder
from sources.front_matter import fields_of
from sources.model_card import front_matter

#: Characters of a front matter.
START = 4 * 2**20
#: Of the languages, datasets and the like that a card may name.
MOST = 100


def card_facts(folder: Folder) -> CardFacts:
    """What the card of the model in ``folder`` says; nothing where there is none. Whatever is wrong with it is no
    fault: a value that is not as the hub has it is left out.
    """
    said = fields_of(front_matter(folder, START), CardFacts.model_fields)
    return CardFacts(**{name: value for name, found in said.items() if (value := _value(name, found))})


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
