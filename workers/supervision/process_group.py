"""What an ended process has left in its group."""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress

log = logging.getLogger("layercut.runner")

#: Who was killed is gone at once, unless a driver holds it.
REAP_SECONDS = 5.0
LOOK_SECONDS = 0.01


def reap_group(leader: int) -> None:
    """Wait for the children of this process in the group that ``leader`` led: it is reaped, and they were killed.

    Until somebody does, each is counted among its user's processes. Those with another parent are its to wait for.
    """
    deadline = time.monotonic() + REAP_SECONDS
    with suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(-leader, os.WNOHANG) == (0, 0):
                time.sleep(LOOK_SECONDS)
        log.warning("runner %s: what it started does not end", leader)
