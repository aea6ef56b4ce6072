"""What was looked at for a study, kept from round to round; and how long cells have waited for what was not there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it works with the gateway's state, which holds these
    from service.studies.admitting import Admitter

#: An admitter is kept for so long, and holds for so long what it has fetched.
KEPT_SECONDS = 300.0
#: What was there when the study was asked for may be away for a moment: it is gone after so many looks, so far apart.
LOOKS, LOOK_SECONDS = 3, 60.0
#: A cell begins without knowing whether its like is known once it has waited for so long to know.
UNSURE_SECONDS = 180.0


@dataclass
class _Kept:
    admitter: Admitter
    until: float


@dataclass
class Patience:
    """Of one study, in this process."""

    _missed: dict[Hashable, tuple[int, float]] = field(default_factory=dict)
    _unsure: dict[Hashable, float] = field(default_factory=dict)

    def is_gone(self, what: Hashable, now: float) -> bool:
        """Whether ``what`` was looked for in vain often enough; this is another such look."""
        looks, last = self._missed.get(what, (0, -LOOK_SECONDS))
        if now - last >= LOOK_SECONDS:
            looks, last = looks + 1, now
            self._missed[what] = (looks, last)
        return looks >= LOOKS

    def is_there(self, what: Hashable) -> None:
        self._missed.pop(what, None)

    def waits(self, what: Hashable, now: float) -> bool:
        """Whether to wait for more to be known of ``what``."""
        return now - self._unsure.setdefault(what, now) < UNSURE_SECONDS


class KeptAdmitters:
    """One a study, used by one thread at a time; a second thread has one of its own. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._kept: dict[str, _Kept] = {}
        self._patience: dict[str, Patience] = {}
        self._lock = threading.Lock()

    @contextmanager
    def of(self, study_id: str, make: Callable[[], Admitter]) -> Iterator[tuple[Admitter, Patience]]:
        """One that was kept, or that ``make`` makes; kept again afterwards, where nothing was raised."""
        with self._lock:
            kept = self._kept.pop(study_id, None)
            patience = self._patience.setdefault(study_id, Patience())
        if kept is None or kept.until < self.clock():
            self._close(kept)
            kept = _Kept(make(), self.clock() + KEPT_SECONDS)
        else:
            kept.admitter.look_again()
        try:
            yield kept.admitter, patience
        except BaseException:
            self._close(kept)
            raise
        with self._lock:
            before = self._kept.pop(study_id, None)
            self._kept[study_id] = kept
        self._close(before)

    def forget_others(self, running: set[str]) -> None:
        """Close those of studies that run no more, and those that were kept for long."""
        with self._lock:
            now = self.clock()
            gone = [key for key, kept in self._kept.items() if key not in running or kept.until < now]
            closed = [self._kept.pop(key) for key in gone]
            for key in self._patience.keys() - running:
                del self._patience[key]
        for kept in closed:
            self._close(kept)

    def _close(self, kept: _Kept | None) -> None:
        if kept is not None:
            kept.admitter.__exit__(None, None, None)
