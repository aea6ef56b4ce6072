"""One supervisor a test; see `tests/support/supervisor_rig.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.supervisor_rig import FAKE_RUNNER, Rig, no_inputs
from workers.settings import WorkerSettings


@pytest.fixture
def worker_settings(tmp_path: Path) -> WorkerSettings:
    return WorkerSettings(data_dir=tmp_path / "data", lease_seconds=20, heartbeat_seconds=5, kill_grace_seconds=5)


@pytest.fixture
def rig(worker_settings: WorkerSettings) -> Iterator[Rig]:
    rig = Rig(worker_settings, FAKE_RUNNER, no_inputs)
    yield rig
    rig.close()
