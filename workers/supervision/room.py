"""Whether a worker's host has what a job needs: without, it claims none."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from api_schemas.errors import LayercutError
from store.disk_space import check_room, free_bytes

log = logging.getLogger("layercut.room")

#: Of a disk that is full: what is written is rounded up to blocks, and some is kept for root.
FULL_BYTES = 2**20

#: Tells whoever wants to know why the worker takes no job; None: it does.
Pause = Callable[[str | None], None]


class Room:
    """Looks at the disks of ``folders``, each of which needs ``least`` bytes, asks for the ``refusal`` of the artifact
    store, and has a runner ``ready``, which raises ``OSError`` where the host has none to give. What changes is told
    once.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        least: int,
        ready: Callable[[], None],
        tell: Pause,
        *,
        refusal: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._folders, self._least, self._ready, self._tell = folders, least, ready, tell
        self._refusal = refusal
        #: What was told; nothing yet.
        self._told: str | None = None

    def missing(self) -> str | None:
        """Why no job can be taken now; None where one can."""
        reason = self._look()
        if (reason is None) != (self._told is None):
            log.warning("no job is claimed: %s", reason) if reason else log.warning("jobs are claimed again")
            self._told = reason
            self._tell(reason)
        return reason

    def _look(self) -> str | None:
        try:
            check_room(self._folders, self._least)
        except LayercutError as error:
            return error.message
        except OSError as error:
            return f"a disk of the worker does not answer: {error.strerror}"
        if refusal := self._refusal():
            return refusal
        try:
            self._ready()
        except OSError as error:
            return f"a runner cannot be started: {error.strerror or type(error).__name__}"
        return None


def is_full(folder: Path) -> bool:
    """Whether next to nothing can be written to the disk of ``folder``."""
    try:
        return free_bytes(folder) < FULL_BYTES
    except OSError:
        return False
