"""How much of the score is left."""

from __future__ import annotations


def retention(before: float | None, after: float | None) -> float | None:
    """``after / before``; None where one is not known, or the baseline scored nothing: a ratio would mean nothing."""
    if before is None or after is None or before <= 0:
        return None
    return after / before
