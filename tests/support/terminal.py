"""A command on a terminal of its own, as somebody sits in front of it."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path


def on_terminal(
    command: list[object], environment: dict[str, str], cwd: Path, seen: Callable[[str, subprocess.Popen[bytes]], None]
) -> tuple[int, str]:
    """Its exit code, and all that it showed. ``seen`` is told after each piece what was shown so far."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        list(map(str, command)),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=cwd,
        env={**environment, "TERM": "xterm-256color", "COLUMNS": "150", "LINES": "40"},
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    try:
        while block := _read(ours):
            shown += block
            seen(shown.decode("utf-8", "replace"), process)
        return process.wait(60), shown.decode("utf-8", "replace")
    finally:
        os.close(ours)
        if process.poll() is None:
            process.kill()
            process.wait()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # its other end is closed: that is how Linux says so
        return b""
