"""What an answer, or none, means for a message."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from store.deliveries import RETRY_SECONDS, Outcome

#: Of what an endpoint says beside its status, in characters.
LONGEST_SAID = 200

#: Statuses whose `Retry-After` counts.
ASKS_TO_WAIT = frozenset({429, 503})


def outcome_of(status: int, retry_after: str, said: str) -> Outcome:
    """``said`` is the beginning of the answer's body."""
    if 200 <= status < 300:
        return Outcome(delivered=True, status=status)
    wait = pause(retry_after) if status in ASKS_TO_WAIT else 0.0
    return Outcome(delivered=False, status=status, error=_reason(status, said), gone=status == 410, wait=wait)


def failed(reason: str) -> Outcome:
    """There was no answer."""
    return Outcome(delivered=False, error=reason)


def pause(value: str) -> float:
    """Seconds that a `Retry-After` asks for, no more than the longest of ours; 0 for what is none."""
    return min(max(_seconds(value.strip()), 0.0), RETRY_SECONDS[-1])


def _seconds(value: str) -> float:
    if value.isascii() and value.isdecimal():
        return float(value[:9])
    try:
        found = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return 0.0
    return found if math.isfinite(found) else 0.0


_REASONS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (lambda status: 300 <= status < 400, "it redirects, which is not followed: give the address itself"),
    (lambda status: status == 410, "it wants no more"),
)


def _reason(status: int, said: str) -> str:
    known = next((text for fits, text in _REASONS if fits(status)), "")
    heard = " ".join(said.split())[:LONGEST_SAID]
    return ": ".join(part for part in (f"status {status}", known, heard) if part)
