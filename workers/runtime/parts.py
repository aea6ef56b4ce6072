"""Long work that tells how much of it is done: whoever watches it knows then that it goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

#: Hears how many of how many parts are done.
Done = Callable[[int, int], None]

Part = TypeVar("Part")


def unheard(done: int, total: int) -> None:
    """For work that nobody watches."""


def counted(parts: Sequence[Part], done: Done) -> Iterator[Part]:
    """The parts, in turn; ``done`` hears of each when the next is asked for."""
    for number, part in enumerate(parts, 1):
        yield part
        done(number, len(parts))
