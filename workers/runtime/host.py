"""What the machine has left, as its system tells it."""

from __future__ import annotations

import sys
from pathlib import Path


def host_memory(root: Path = Path("/")) -> int:
    """Bytes that this process may still take: of the machine, and of every control group (v2) that it is in.

    Without an answer of the system, more than there can be.
    """
    rows = _fields(root / "proc/meminfo")
    free = [rows["MemAvailable:"] * 1024] if "MemAvailable:" in rows else [sys.maxsize]
    inner = root / "sys/fs/cgroup" / _text(root / "proc/self/cgroup").rpartition("0::/")[2].strip()
    for folder in (inner, *inner.parents):
        limit, used = _text(folder / "memory.max").strip(), _text(folder / "memory.current").strip()
        if limit.isdecimal() and used.isdecimal():
            # Pages of files are given back when memory runs short.
            free.append(int(limit) - int(used) + _fields(folder / "memory.stat").get("inactive_file", 0))
    return max(0, min(free))


def _fields(path: Path) -> dict[str, int]:
    """Of lines like ``name 12`` or ``name: 12 kB``."""
    rows = (line.split() for line in _text(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
