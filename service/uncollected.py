"""Moments in which thousands of objects are made that stay: looking for garbage among them takes as long again."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_inside = 0


@contextmanager
def uncollected() -> Iterator[None]:
    """The cyclic collector rests, in all threads, while anybody is inside. For parts of a second only."""
    global _inside  # noqa: PLW0603 - there is one collector in the process
    with _lock:
        _inside += 1
        if _inside == 1:
            gc.disable()
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                gc.enable()
