"""Numbers and names as people read them; the filters of the templates."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

#: What stands where there is nothing to say.
NOTHING = "–"

_SIZES = ("B", "KB", "MB", "GB", "TB")
_COUNTS = ("", " K", " M", " B")


def size(count: float | None) -> str:
    """Bytes, as in ``438 MB``."""
    return NOTHING if count is None else _scaled(count, [f" {unit}" for unit in _SIZES])


def short(count: float | None) -> str:
    """As in ``110 M``."""
    return NOTHING if count is None else _scaled(count, _COUNTS)


def _scaled(count: float, units: Iterable[str]) -> str:
    *small, largest = units
    for unit in small:
        # What would be rounded to 1000 has the next unit.
        if abs(count) < 999.5:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:,.3g}{largest}"


def score(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def percent(ratio: float | None, digits: int = 1) -> str:
    return NOTHING if ratio is None else f"{ratio * 100:.{digits}f} %"


def times(ratio: float | None) -> str:
    """As in ``1.49 ×``."""
    return NOTHING if ratio is None else f"{ratio:.2f} ×"


def duration(seconds: float | None) -> str:
    """As in ``3 min 12 s``: the two largest units."""
    if seconds is None:
        return NOTHING
    if seconds < 10:
        return f"{seconds:.1f} s"
    left = round(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
    return " ".join(part for part in parts[:2] if part)


def moment(at: datetime | None) -> Markup:
    """An element that the script shows in the reader's own time."""
    if at is None:
        return Markup(NOTHING)
    utc = at.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(f"{utc:%Y-%m-%dT%H:%M:%SZ}", f"{utc:%d %b %Y, %H:%M} UTC")


def numbers(layers: Iterable[int] | None) -> str:
    """Runs are drawn together, as in ``0–5, 10, 11``."""
    if layers is None:
        return NOTHING
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ", ".join(_run(run) for run in runs) or "none"


def _run(run: list[int]) -> str:
    return f"{run[0]}–{run[-1]}" if len(run) > 2 else ", ".join(map(str, run))


def pretty(value: Any) -> str:
    """JSON for people."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def plural(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


FILTERS: dict[str, Callable[..., Any]] = {
    "size": size, "short": short, "score": score, "percent": percent, "times": times, "duration": duration,
    "moment": moment, "numbers": numbers, "pretty": pretty, "plural": plural,
}  # fmt: skip
