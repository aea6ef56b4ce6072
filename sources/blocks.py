"""A file read block by block, for as long as anybody waits: a file of terabytes must not outlive the request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO

BLOCK = 1 << 20

#: Asked before each block, and each file that is staged: whether nobody waits any more.
Stopped = Callable[[], bool]


class Cancelled(Exception):
    """Nobody waits any more for what was to be read."""


def never() -> bool:
    return False


def blocks(file: BinaryIO, size: int, stopped: Stopped) -> Iterator[bytes]:
    """The next ``size`` bytes of ``file`` and no more, as it may grow for ever; less where it ends before.

    Raises ``Cancelled`` where ``stopped`` says so.
    """
    left = size
    while left > 0:
        if stopped():
            raise Cancelled
        if not (block := file.read(min(BLOCK, left))):
            return
        left -= len(block)
        yield block
