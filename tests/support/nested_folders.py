"""Folders in each other, deeper than any path can say."""

from __future__ import annotations

import os
from pathlib import Path


def nest(folder: Path, depth: int, name: str = "a") -> None:
    """As a runner does it: no path is ever longer than the system takes."""
    handle = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=handle)
        inner = os.open(name, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=handle))
    os.close(handle)
