"""Text that others wrote, made fit to be drawn."""

from __future__ import annotations

import unicodedata

#: Marks that turn the direction of what follows, a figure's own words too.
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def plain(text: object, most: int = 60) -> str:
    """``text`` on one line of at most ``most`` characters, without what cannot be seen or stand in XML."""
    words = " ".join(str(text)[: 50 * most].split())
    seen = "".join(character for character in words if _visible(character))
    return seen if len(seen) <= most else f"{seen[: most - 1].rstrip()}…"


def _visible(character: str) -> bool:
    return character == " " or (character not in _TURNING and unicodedata.category(character) not in _UNSEEN)


_UNSEEN = frozenset({"Cc", "Cs", "Cn", "Co"})


def width(text: str, size: float) -> float:
    """In pixels, about: wide enough for most letters, and twice that for those of East Asia."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return size * 0.62 * (len(text) + 0.7 * wide)


def number(value: float, digits: int = 2) -> str:
    """As in 91.6, 0.25 or 1,234: without needless zeros."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    shown = f"{value:.{digits}f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def megabytes(size: float) -> str:
    return f"{number(size / 1e9)} GB" if size >= 1e9 else f"{number(size / 1e6, 1)} MB"


def millions(count: float) -> str:
    if count >= 1e9:
        return f"{number(count / 1e9)} B"
    return f"{number(count / 1e6, 1)} M" if count >= 1e5 else number(count)


def joined(parts: list[str], most: int = 12) -> str:
    """As in `a, b and c`; of many, the first."""
    if len(parts) > most:
        return f"{', '.join(parts[:most])} and {len(parts) - most} more"
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
