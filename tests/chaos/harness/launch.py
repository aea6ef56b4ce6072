"""`layercut`, whose runners are `runner.py` of this folder: real ones, and quick ones for jobs that ask for it.

Takes the arguments of `layercut`. Nothing else of it is changed, but for a clock that is wrong by
CHAOS_CLOCK_SECONDS.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import cli.children
from cli.main import app

RUNNER = [sys.executable, "-P", str(Path(__file__).with_name("runner.py"))]


class _Child(cli.children.Child):
    """A child that is launched by this program too."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._command[self._command.index("cli.main")] = "tests.chaos.harness.launch"


def main() -> None:
    _skew_clock(float(os.environ.get("CHAOS_CLOCK_SECONDS", "0")))
    if "serve" in sys.argv:
        import cli.serving  # noqa: PLC0415

        cli.serving.Child = _Child
    if "worker" in sys.argv:  # a gateway imports nothing of a worker
        from workers import celery_app  # noqa: PLC0415

        celery_app.RUNNER = RUNNER
    app()


def _skew_clock(seconds: float) -> None:
    """As on a host whose clock is wrong by so much."""
    true, true_ns = time.time, time.time_ns
    time.time = lambda: true() + seconds
    time.time_ns = lambda: true_ns() + int(seconds * 10**9)


if __name__ == "__main__":
    main()
