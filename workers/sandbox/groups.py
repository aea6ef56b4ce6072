"""Control groups for a runner and all that it starts, where the worker may make them: as root, mostly.

The kernel limits the number of processes of every user but root, so for a runner that stays root it is the only way.
Each runner has its own: what a fork bomb leaves is counted until somebody reaps it, and no other job may pay for that.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
#: The file for a limit, in either version of control groups.
LIMITS = {"pids": ("pids.max",), "memory": ("memory.max", "memory.limit_in_bytes")}

PREFIX = "layercut-"
_numbers = itertools.count()


def own_group(controller: str) -> Path:
    """Where this process's limits of that kind are."""
    split = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    by_controller = {name: path for _, names, path in split for name in names.split(",")}
    if controller in by_controller:
        return ROOT / controller / by_controller[controller].lstrip("/")
    return ROOT / by_controller.get("", "").lstrip("/")


def host_memory() -> int:
    """Bytes that this host has, or its control group allows."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in _memory_files():
        with suppress(OSError, ValueError):  # not there, or "max"
            found.append(int(file.read_text()))
    return min(found)


def _memory_files() -> list[Path]:
    try:
        place = own_group("memory")
    except OSError:
        return []
    return [group / name for group in (place, *place.parents) for name in LIMITS["memory"]]


@dataclass(frozen=True)
class Groups:
    """Makes the groups of a runner: one in each of ``parents``, by controller, with that limit. ``missing`` says of the
    others why there is none.
    """

    parents: dict[str, Path] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, limits: dict[str, int]) -> Groups:
        """Of ``limits``, those for which this process may make groups within its own."""
        parents, missing = {}, {}
        for controller, value in limits.items():
            try:
                parent = own_group(controller)
                _sweep(parent)
                _make(parent / _name(), LIMITS[controller], value).rmdir()
                parents[controller] = parent
            except OSError as error:
                missing[controller] = error.strerror or str(error)
        return cls(parents, limits, missing)

    def without(self, why: str) -> Groups:
        """None of them, for that reason."""
        return Groups(limits=self.limits, missing=dict.fromkeys(self.limits, why))

    def make(self) -> tuple[Path, ...]:
        """New ones, which no process is in. Raises ``OSError``."""
        name, made = _name(), []
        try:
            for controller, parent in self.parents.items():
                made.append(_make(parent / name, LIMITS[controller], self.limits[controller]))
        except OSError:
            remove_groups(made)
            raise
        return tuple(made)

    def close(self) -> None:
        """Remove those of this process that could not be removed when their runner went."""
        for parent in self.parents.values():
            remove_groups(parent.glob(f"{PREFIX}{os.getpid()}-*"))


def remove_groups(groups: Iterable[Path]) -> None:
    """Those that no process is in any more."""
    for group in groups:
        with suppress(OSError):
            group.rmdir()


def _name() -> str:
    return f"{PREFIX}{os.getpid()}-{next(_numbers)}"


def _make(group: Path, files: tuple[str, ...], value: int) -> Path:
    group.mkdir()
    try:
        file = next((group / name for name in files if (group / name).exists()), group / files[0])
        file.write_text(str(value))
    except OSError:
        group.rmdir()
        raise
    return group


def _sweep(parent: Path) -> None:
    """Of workers that were killed. One with processes in it cannot be removed; one without is not needed."""
    dead = (group for group in parent.glob(f"{PREFIX}*") if not Path("/proc", group.name.split("-")[1]).exists())
    remove_groups(dead)
