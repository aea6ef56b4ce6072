"""What a runner and each of its children may use. Standard library alone.

The soft limits are set, and `seccomp.py` lets no runner change them: its supervisor can, by the functions here.
"""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from pathlib import Path

#: Private memory that can be written. Not the address space: CUDA reserves terabytes of that, and weights are mapped.
MEMORY = resource.RLIMIT_DATA

#: What `enter` failing is told as: the limits below can be had without.
CONTROL_GROUPS = "control groups"

BY_NAME = {
    "memory_bytes": MEMORY,
    "file_bytes": resource.RLIMIT_FSIZE,
    "open_files": resource.RLIMIT_NOFILE,
}


def set_limits(limits: dict[str, int], own_uid: int | None, *, final: bool) -> None:
    """``limits`` by the names above, and ``processes``. ``own_uid`` is the user it will have all to itself, if any.

    ``final``: hard limits too, for want of a filter that keeps the soft ones. Raises ``OSError``, ``ValueError``.
    """
    for name, kind in BY_NAME.items():
        _lower(kind, limits[name], final=final)
    # The kernel counts all threads of the user: those that are there already are none of the runner's.
    _lower(
        resource.RLIMIT_NPROC,
        limits["processes"] + (0 if own_uid is not None else _threads_of(os.getuid())),
        final=final,
    )
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Where memory runs out, the runner goes first, and its supervisor can say so.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def enter(groups: list[str]) -> None:
    """Each control group; raises ``OSError``."""
    for group in groups:
        Path(group, "cgroup.procs").write_text(str(os.getpid()))


def limit_cpu(pid: int, seconds: float) -> None:
    """CPU time of the process, and of each that it starts from now on; what it has used counts. Beyond it, SIGXCPU."""
    with suppress(OSError, ValueError):  # gone already, or less is allowed than that
        resource.prlimit(pid, resource.RLIMIT_CPU, _soft(pid, resource.RLIMIT_CPU, max(1, int(seconds))))


def allow_mapped(pid: int, size: int) -> None:
    """``size`` more bytes of memory: files that are mapped so that a change stays private count as memory."""
    with suppress(OSError, ValueError):
        now = resource.prlimit(pid, MEMORY)[0]
        if now != resource.RLIM_INFINITY:
            resource.prlimit(pid, MEMORY, _soft(pid, MEMORY, now + size))


def _lower(kind: int, value: int, *, final: bool) -> None:
    hard = resource.getrlimit(kind)[1]
    soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (soft, soft if final else hard))


def _soft(pid: int, kind: int, value: int) -> tuple[int, int]:
    hard = resource.prlimit(pid, kind)[1]
    return (value if hard == resource.RLIM_INFINITY else min(value, hard)), hard


def _threads_of(uid: int) -> int:
    total = 0
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if folder.name.isdecimal() and folder.stat().st_uid == uid:
                total += len(os.listdir(folder / "task"))
    return total
