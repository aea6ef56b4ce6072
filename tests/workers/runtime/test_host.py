"""What the machine has left, as its system tells it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from workers.runtime.host import host_memory

GIB = 1 << 30


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """8 GiB free, in a group within a group, neither of which has a limit."""
    files = {
        "proc/meminfo": f"MemTotal: 99999999 kB\nMemAvailable: {8 * GIB // 1024} kB\nHugePages_Free: 0\n",
        "proc/self/cgroup": "1:name=old:/elsewhere\n0::/pod/box\n",
    }
    for group in ("pod", "pod/box"):
        files |= {f"sys/fs/cgroup/{group}/memory.{name}": text for name, text in (("max", "max\n"), ("current", "5\n"))}
    write(tmp_path, files)
    return tmp_path


def test_without_limits_the_machine_decides(system: Path) -> None:
    assert host_memory(system) == 8 * GIB


@pytest.mark.parametrize("group", ["pod", "pod/box"])
def test_the_tightest_group_decides_and_pages_of_files_can_be_given_back(system: Path, group: str) -> None:
    limited = {"max": f"{4 * GIB}\n", "current": f"{3 * GIB}\n", "stat": f"anon {GIB}\ninactive_file {2 * GIB}\n"}
    write(system, {f"sys/fs/cgroup/{group}/memory.{name}": text for name, text in limited.items()})
    assert host_memory(system) == 3 * GIB


def test_a_group_that_is_full_leaves_nothing(system: Path) -> None:
    write(system, {"sys/fs/cgroup/pod/memory.max": "10\n", "sys/fs/cgroup/pod/memory.current": "20\n"})
    assert host_memory(system) == 0


def test_a_system_that_does_not_say_is_not_taken_to_be_full(tmp_path: Path) -> None:
    assert host_memory(tmp_path) == sys.maxsize
