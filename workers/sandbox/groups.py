"""A control group for all processes of a worker's runners together, where the worker may make one: as root, mostly.

The kernel limits the number of processes of every user but root, so for a runner that stays root it is the only way.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
#: The file for a limit, in either version of control groups.
LIMITS = {"pids": ("pids.max",), "memory": ("memory.max", "memory.limit_in_bytes")}


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


def make_groups(limits: dict[str, int]) -> dict[str, Path]:
    """By controller, of those that could be made: groups within this process's own, which no other process is in."""
    made = {}
    for controller, value in limits.items():
        with suppress(OSError):
            parent = own_group(controller)
            _sweep(parent)
            made[controller] = _make(parent / f"layercut-{os.getpid()}", LIMITS[controller], value)
    return made


def remove_groups(groups: dict[str, Path]) -> None:
    """Those that no process is in any more."""
    for group in groups.values():
        with suppress(OSError):
            group.rmdir()


def _make(group: Path, files: tuple[str, ...], value: int) -> Path:
    group.mkdir(exist_ok=True)
    try:
        file = next((group / name for name in files if (group / name).exists()), group / files[0])
        file.write_text(str(value))
    except OSError:
        group.rmdir()
        raise
    return group


def _sweep(parent: Path) -> None:
    """Of workers that were killed. One with processes in it cannot be removed; one without is not needed."""
    for group in parent.glob("layercut-*"):
        if not Path("/proc", group.name.removeprefix("layercut-")).exists():
            with suppress(OSError):
                group.rmdir()
