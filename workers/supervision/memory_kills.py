"""Whether the kernel has killed for want of memory: what control groups count, before a runner and after it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from workers.sandbox.groups import ROOT, own_group

#: Where the number of kills stands, in either version of control groups, as lines of a name and a number.
COUNTERS = ("memory.events", "memory.oom_control")
KILLS = ("oom_kill", "oom_group_kill")


class MemoryKills:
    """Counts from when it is made. ``groups`` are a runner's own; a worker's, and those above it, count too."""

    def __init__(self, groups: Iterable[Path], worker: Path | None = None) -> None:
        places = (*groups, *_above(worker or _worker()))
        self._before = {file: _kills(file) for group in places for name in COUNTERS if (file := group / name).exists()}

    def since(self) -> int:
        """How many kills there were since, by the group that counted most: each counts those beneath it."""
        return max((_kills(file) - before for file, before in self._before.items()), default=0)


def _worker() -> Path:
    try:
        return own_group("memory")
    except OSError:  # not on Linux
        return ROOT


def _above(group: Path) -> list[Path]:
    return [group, *(parent for parent in group.parents if parent.is_relative_to(ROOT))]


def _kills(file: Path) -> int:
    total = 0
    with suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            name, _, number = line.partition(" ")
            total += int(number) if name in KILLS else 0
    return total
