"""One way to write a label: files of every format, requests and the heads of models are compared by it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

#: In characters. Python would not even read a whole number of some thousand digits.
LONGEST_LABEL = 500
#: Whole numbers, however they are written: 1, 01 is not one of them, +1, 1.0.
_WHOLE = re.compile(r"[+-]?(0|[1-9]\d*)(\.0*)?")
#: Of a head that nobody gave names to.
_UNNAMED = re.compile(r"LABEL_(\d+)", re.IGNORECASE)


def label_text(value: Any) -> str | None:
    """``value`` as a label: a text without blanks around it and with single ones in it. A whole number is written
    without a point, and JSON's true and false as words. None for what is no label: an empty text, a number that is not
    finite, half a character, a byte 0, a list, more than ``LONGEST_LABEL`` characters.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, (str, int, float)) or (isinstance(value, int) and value.bit_length() > LONGEST_LABEL):
        return None
    text = " ".join(str(value).split())
    if not 0 < len(text) <= LONGEST_LABEL or "\0" in text:
        return None
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        return None
    if _WHOLE.fullmatch(text):
        return str(int(text.partition(".")[0]))
    number = as_number(text)
    return text if number is None or math.isfinite(number) else None


def label_key(label: str) -> str:
    """What two spellings of one label have in common: labels differ neither in case nor in blanks alone."""
    return label_text(label.casefold()) or label.casefold()


def as_number(text: str) -> float | None:
    """The number that ``text`` says, which may not be finite; None where it says none."""
    try:
        return float(text)
    except (ValueError, OverflowError):
        return None


def unnamed(label: str) -> int | None:
    """The number of a head's output that was never named (LABEL_3); None for a name."""
    found = _UNNAMED.fullmatch(label.strip())
    return int(found[1]) if found else None


def head_order(
    words: Sequence[str] | None,
    names: Sequence[str],
    meant: Sequence[str] | Mapping[str, str] | None,
    *,
    numbered: bool,
) -> list[int] | None:
    """At which of a head's outputs each of the labels ``names`` stands; None where that is not known.

    ``words`` are the head's own, in the order of its outputs. ``meant`` is ``task.labels``: an order of the outputs,
    or what each word means. ``numbered``: everyone gives these labels the same numbers, as those of GLUE.
    """
    if words is None or len(words) != len(names):
        return None
    if isinstance(meant, Mapping):
        by_word = {_loose(word): label_key(label) for word, label in meant.items()}
        return _places([by_word.get(_loose(word), "") for word in words], [label_key(name) for name in names])
    if meant is not None:
        return _places([label_key(label) for label in meant], [label_key(name) for name in names])
    found = _places([_loose(word) for word in words], [_loose(name) for name in names])
    in_order = [str(at) for at in range(len(names))]
    plain = [str(number) if (number := unnamed(word)) is not None else word for word in words]
    if found is None and plain == in_order and (numbered or list(names) == in_order):
        return list(range(len(names)))
    return found


def _places(have: list[str], want: list[str]) -> list[int] | None:
    if sorted(have) != sorted(want) or len(set(want)) != len(want):
        return None
    return [have.index(name) for name in want]


def not_of_head(words: Sequence[str], meant: Mapping[str, str]) -> str | None:
    """The first word of ``meant`` that is none of the head's."""
    known = {_loose(word) for word in words}
    return next((word for word in meant if _loose(word) not in known), None)


def _loose(word: str) -> str:
    """A head may write not_entailment, and a table not-entailment."""
    return label_key(re.sub(r"[-_\s]+", " ", word))
