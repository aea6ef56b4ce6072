"""How often: many rates, by key, in bounded memory. One event loop's; nothing here waits or locks.

The generic cell rate algorithm: of each key only the time is kept at which all that it took would be paid back. A
library was looked at (`limits`): its store in memory keeps a counter for each key ever seen in the window, and a timer.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    """``per_minute`` for ever, and ``burst`` at once."""

    per_minute: int
    burst: int

    @property
    def interval(self) -> float:
        return 60.0 / self.per_minute


@dataclass(frozen=True)
class Taken:
    """``wait`` in seconds is 0 where it was allowed; ``left`` is how many more would be, now."""

    wait: float
    left: int
    reset: float


class Rates:
    """Of more than ``most`` keys, those that were not heard of for longest are forgotten."""

    def __init__(self, most: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._paid: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._paid)

    def take(self, key: str, rate: Rate) -> Taken:
        """Take one, where the rate allows it."""
        now = self._clock()
        room = rate.burst * rate.interval
        paid = max(self._paid.get(key, now), now) + rate.interval
        if paid - now > room:
            return Taken(wait=paid - now - room, left=0, reset=paid - now - rate.interval)
        self._keep(key, paid)
        return Taken(wait=0.0, left=int((room - (paid - now)) / rate.interval), reset=paid - now)

    def give_back(self, key: str, rate: Rate) -> None:
        """What was taken was no use of the rate after all."""
        if key in self._paid:
            self._keep(key, self._paid[key] - rate.interval)

    def _keep(self, key: str, paid: float) -> None:
        self._paid[key] = paid
        self._paid.move_to_end(key)
        if len(self._paid) > self._most:
            self._paid.popitem(last=False)
