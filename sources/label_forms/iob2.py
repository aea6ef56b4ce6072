"""The IOB2 scheme: O, or the first word of an entity (B-TYPE) or a further one (I-TYPE)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from api_schemas.labels import LONGEST_LABEL
from sources.tables.list_cells import is_broken, shown

OUTSIDE = "O"


def type_of(tag: str) -> str:
    """The type of the entity; empty for O. Raises ``ValueError`` for what is no tag, and says so."""
    if tag == OUTSIDE:
        return ""
    prefix, _, type = tag.partition("-")
    if prefix not in ("B", "I") or not type.strip() or len(tag) > LONGEST_LABEL or is_broken(tag):
        raise ValueError(f"{shown(tag)} is no tag of IOB2: it has O, B-TYPE and I-TYPE")
    return type


def first_break(tags: Sequence[str]) -> tuple[int, str] | None:
    """The first place at which valid ``tags`` of a sentence break the order, and what is wrong and right there."""
    before = OUTSIDE
    for at, tag in enumerate(tags):
        if tag.startswith("I-") and (before == OUTSIDE or before[2:] != tag[2:]):
            after = f"after {shown(before)}" if at else "at the start of a sentence"
            return at, f"{shown(tag)} {after}: in IOB2 the first word of an entity has {shown('B-' + tag[2:])}"
        before = tag
    return None


def tag_names(types: Iterable[str]) -> tuple[str, ...]:
    """O, then both tags of each type, by alphabet."""
    return (OUTSIDE, *(f"{prefix}-{type}" for type in sorted(types) for prefix in ("B", "I")))
