"""Workers whose attempts are tracked: by what a test gives, by a real MLflow, by W&B's own client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.mlflow_server import PROGRAM, MlflowServer
from tests.support.tracked_rig import TrackedRig
from workers.settings import WorkerSettings
from workers.tracking.tracker import Tracker

Rigs = Callable[..., TrackedRig]


@pytest.fixture
def worker_settings(tmp_path: Path) -> WorkerSettings:
    return WorkerSettings(
        data_dir=tmp_path / "data", lease_seconds=20, heartbeat_seconds=5, kill_grace_seconds=5,
        public_url="https://layercut.example.org/",
    )  # fmt: skip


@pytest.fixture
def rigs(worker_settings: WorkerSettings) -> Iterator[Rigs]:
    """Makes a worker with these trackers; the second is another one on the same store."""
    made: list[TrackedRig] = []

    def make(*trackers: Tracker) -> TrackedRig:
        made.append(TrackedRig(worker_settings, trackers))
        return made[-1]

    yield make
    for rig in made:
        rig.close()


@pytest.fixture(scope="session")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """Running; a test that kills it starts it again."""
    if not PROGRAM.exists():
        pytest.skip("MLflow's server is not installed: make build/peers/mlflow/.installed")
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    try:
        server.start()
        yield server
    finally:
        server.kill()
