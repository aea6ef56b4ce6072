"""Processes that end with their parent, on every system and however the parent ended."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

EVERY_SECONDS = 1.0


def when_parent_dies(then: Callable[[], None]) -> None:
    """Call ``then`` once in a thread when the process that is the parent now is the parent no more."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(EVERY_SECONDS)
        then()

    threading.Thread(target=watch, name="follow-parent", daemon=True).start()
