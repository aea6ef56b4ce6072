"""The front matter of a model card, as far as it is words and lists of words.

It is YAML, of which this reads no more: aliases could blow a reader up, and what is nested no program here asks for.
"""

from __future__ import annotations

import re

#: A word of the card, or several in a list.
Field = str | list[str]

_FRONT = re.compile(r"\s*---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_VALUE = r"""(['"]?)([A-Za-z0-9](?:[A-Za-z0-9 ._+/-]{0,198}[A-Za-z0-9._+])?)"""
_END = r"[ \t]{0,99}(?:[ \t]#.*)?"
_WORD = re.compile(rf"([A-Za-z][A-Za-z0-9_-]{{0,60}}):[ \t]{{1,9}}{_VALUE}\2{_END}")
_LIST = re.compile(rf"([A-Za-z][A-Za-z0-9_-]{{0,60}}):{_END}")
_ITEM = re.compile(rf"[ \t]{{0,4}}-[ \t]{{1,4}}{_VALUE}\1{_END}")

#: What YAML does not take for text.
_NO_TEXT = frozenset({"null", "true", "false", "yes", "no", "on", "off"})


def front_matter(card: bytes) -> dict[str, Field]:
    """The fields that a card begins with; what is no word and no list of words is left out."""
    front = _FRONT.match(card.decode("utf-8", "replace"))
    fields: dict[str, Field] = {}
    items: list[str] = []
    for line in front[1].splitlines() if front else ():
        if item := _ITEM.fullmatch(line):
            items.append(item[2])
        elif word := _WORD.fullmatch(line):
            if word[3].lower() not in _NO_TEXT:
                fields[word[1]] = word[3]
            items = []
        elif begun := _LIST.fullmatch(line):
            fields[begun[1]] = items = []
        else:
            items = []
    return {name: value for name, value in fields.items() if value}
