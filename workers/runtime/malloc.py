"""Memory that a step gives back stays with the process: the next step wants as much."""

from __future__ import annotations

import ctypes
from functools import cache

#: Of mallopt(3).
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3


@cache
def keep_freed_memory() -> None:
    """Else glibc hands large blocks to the system as they are freed, and each step pays a page fault for every 4 KiB
    of its gradients and activations. For the rest of the process; nothing where the C library has no such setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, 1 << 30)
        mallopt(TRIM_THRESHOLD, -1)
