"""Lists in one cell of a table."""

from __future__ import annotations

import json
from typing import Any

from sources.tables.bounds import MIB

#: Of JSON, in characters: some hundred thousand words. No sentence, and no row's labels, come near to it.
LONGEST_LIST = MIB
SHOWN = 40
#: One for all: a cell takes as long as making a decoder does.
DECODER = json.JSONDecoder(parse_constant=str)


class NoList(ValueError):
    """What is wrong with a cell, in words for people."""


def is_list(cell: str) -> bool:
    """Whether ``cell`` is to be a list, and not one value, or several with something between them."""
    return cell.lstrip().startswith("[")


def parse_list(cell: str) -> list[Any]:
    """The values of a cell that holds a JSON list; raises ``NoList``."""
    if len(cell) > LONGEST_LIST:
        raise NoList(f"is a list of {len(cell)} characters; at most {LONGEST_LIST} are read")
    try:
        found = DECODER.decode(cell)
    except (ValueError, RecursionError):
        raise NoList(f"is no list as JSON writes one, with double quotes: {shown(cell)}") from None
    if not isinstance(found, list):
        raise NoList(f"is no list but {shown(cell)}")
    return found


def shown(value: Any) -> str:
    """The beginning of a value, for a message."""
    text = repr(value[: SHOWN + 1] if isinstance(value, str) else value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def is_broken(text: str) -> bool:
    """Whether it has half a character (a lone surrogate) or a byte 0, at which databases and tokenizers stop."""
    return "\0" in text or (not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text))
