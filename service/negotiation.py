"""Two small headers: which media type the client would rather have, and how long it is ready to wait."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Header

from api_schemas.errors import LayercutError

MAX_WAIT_SECONDS = 60.0

#: OpenAPI says it by the media types of an answer, and ignores a parameter of this name.
Accept = Annotated[str | None, Header(include_in_schema=False)]

#: What stands after these is not read: no client prefers among so many.
MAX_RANGES = 100

_WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?([0-9]{1,9})", re.IGNORECASE)


def preferred(accept: str | None, offers: tuple[str, ...]) -> str:
    """The offer that ``Accept`` likes best, the first where it has no favourite; raises ``not_acceptable``."""
    parts = [part for part in (accept or "*/*").split(",", MAX_RANGES)[:MAX_RANGES] if part.strip()]
    ranges = [_media_range(part) for part in parts or ["*/*"]]
    ranked = [(_quality(offer, ranges), offer) for offer in offers]
    best, offer = max(ranked, key=lambda pair: pair[0])
    if best <= 0:
        raise LayercutError("not_acceptable", f"this can be had as {' or '.join(offers)}, not as {(accept or '')[:80]}")
    return offer


def wait_seconds(prefer: str | None) -> float:
    """N of ``Prefer: wait=N`` (RFC 7240), at most 60; 0 without it."""
    found = _WAIT.search(prefer or "")
    return min(float(found[1]), MAX_WAIT_SECONDS) if found else 0.0


def _media_range(text: str) -> tuple[str, float]:
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    weight = next((part[2:] for part in parameters if part.startswith("q=")), "1")
    return name, float(weight) if _WEIGHT.fullmatch(weight) else 0.0


def _quality(offer: str, ranges: list[tuple[str, float]]) -> float:
    """The weight of the most exact range that fits, as RFC 9110 §12.5.1 has it."""
    for pattern in (offer, f"{offer.partition('/')[0]}/*", "*/*"):
        weights = [weight for name, weight in ranges if name == pattern]
        if weights:
            return max(weights)
    return 0.0
