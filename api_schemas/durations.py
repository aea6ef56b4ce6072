"""How long something takes, as people say it."""

from __future__ import annotations


def about(seconds: float) -> str:
    """``about 40 s``, ``about 3 min``, ``about 2 h 10 min``: no more exactly than an estimate is."""
    if seconds < 60:
        return f"about {max(5, 5 * round(seconds / 5))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"about {minutes} min"
    hours, minutes = divmod(10 * round(minutes / 10), 60)
    return f"about {hours} h {minutes} min" if minutes and hours < 10 else f"about {round(seconds / 3600)} h"
