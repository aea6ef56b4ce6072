"""Whether the kernel has killed for want of memory: what control groups count, before a runner and after it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from workers.sandbox.groups import ROOT, own_group

#: Where the number of kills stands, in either version of control groups, as lines of a name and a number.
COUNTERS = ("memory.events", "memory.oom_control")
KILLS = ("oom_kill", "oom_group_kill")


@dataclass(frozen=True)
class Counted:
    """``kills`` for want of memory; ``exact``: all of them were the runner's, and not perhaps a neighbour's."""

    kills: int
    exact: bool


class MemoryKills:
    """Counts from when it is made. ``groups`` are a runner's own; only where none of them counts, the worker's and
    those above it do, which are others' too.
    """

    def __init__(self, groups: Iterable[Path], worker: Path | None = None) -> None:
        own = _counters(groups)
        self._exact, self._before = bool(own), own or _counters(_above(worker or _worker()))

    def since(self) -> Counted:
        """How many kills there were since, by the group that counted most: each counts those beneath it."""
        kills = max(((_kills(file) or 0) - before for file, before in self._before.items()), default=0)
        return Counted(kills, self._exact)


def _counters(groups: Iterable[Path]) -> dict[Path, int]:
    """What each file says that counts kills."""
    files = [group / name for group in groups for name in COUNTERS]
    return {file: kills for file in files if (kills := _kills(file)) is not None}


def _worker() -> Path:
    try:
        return own_group("memory")
    except OSError:  # not on Linux
        return ROOT


def _above(group: Path) -> list[Path]:
    return [group, *(parent for parent in group.parents if parent.is_relative_to(ROOT))]


def _kills(file: Path) -> int | None:
    """None where it counts none: it is not there, or of an older kernel."""
    with suppress(OSError, ValueError):
        lines = [line.partition(" ") for line in file.read_text().splitlines()]
        found = [int(number) for name, _, number in lines if name in KILLS]
        return sum(found) if found else None
    return None
