"""What a runner says on stderr becomes lines of its worker's log, each at the level that the runner gave it."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from tests.support.processes import eventually
from tests.support.supervisor_rig import UNLOCKED
from workers.supervision.runner_process import RunnerProcess

SAID = """
import sys
for line in ("WARNING some.library: careful", "ERROR workers.x: bad", "plain words", "NOTE: not a level"):
    print(line, file=sys.stderr)
"""


def test_a_level_is_kept_and_all_else_is_information(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "layercut.runner")
    runner = RunnerProcess([sys.executable, "-c", SAID], tmp_path, UNLOCKED)
    try:
        eventually(lambda: "not a level" in caplog.text)
    finally:
        runner.dispose()
    levels = {record.getMessage().partition(": ")[2]: record.levelname for record in caplog.records}
    assert levels == {
        "WARNING some.library: careful": "WARNING",
        "ERROR workers.x: bad": "ERROR",
        "plain words": "INFO",
        "NOTE: not a level": "INFO",
    }
