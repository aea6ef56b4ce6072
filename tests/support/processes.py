"""Waiting for what other processes do."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def eventually(found: Callable[[], Any], seconds: float = 90.0) -> Any:
    """What ``found`` answers once it is true; fails when it is not in time: what that says of a host that others load,
    and whose disk takes a tenth of a second to sync, is that it will not come at all.
    """
    deadline = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return answer


def gone(pid: int) -> bool:
    """Whether the process has ended; a zombie that nobody waits for has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
