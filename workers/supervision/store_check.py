"""Whether the object store will take what a job makes: a key that may not write shows before hours of work."""

from __future__ import annotations

import time
from collections.abc import Callable

from store.artifacts import ArtifactStore
from store.object_errors import LASTING, first_fault
from store.passing import links

#: So long a store that took a file is believed to take the next.
FRESH_SECONDS = 60.0


class StoreCheck:
    """Of one that only does not answer nothing is said: it may be back by the time that it is needed."""

    def __init__(self, artifacts: ArtifactStore, *, fresh: float = FRESH_SECONDS) -> None:
        """``artifacts``: one that does not wait long. A folder is looked after as a disk."""
        self._check: Callable[[], None] | None = None if artifacts.is_folder else artifacts.check
        self._fresh, self._sound_at = fresh, -fresh

    def refusal(self) -> str | None:
        """Why it would take nothing until somebody has mended that; None where it may."""
        if self._check is None or time.monotonic() - self._sound_at < self._fresh:
            return None
        try:
            self._check()
        except Exception as error:  # noqa: BLE001 - whatever it is: the job will meet it, and tell
            fault = first_fault(links(error))
            return fault.sentence if fault and fault.kind in LASTING else None
        self._sound_at = time.monotonic()
        return None
