"""Threads, which a host may refuse: a runner of the same user or container can have used up all there are."""

from __future__ import annotations

import errno
import threading


class NoThread(OSError):
    """The host has no thread to give."""


def start(thread: threading.Thread) -> None:
    """Raises ``NoThread``."""
    try:
        thread.start()
    except RuntimeError as error:
        message = "the host has no more threads to give (its limit of processes, or the container's)"
        raise NoThread(errno.EAGAIN, message) from error
