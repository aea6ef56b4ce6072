"""One sandbox for all tests here: what this host can do is found out once, as a worker does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.confined import Confined
from workers.sandbox.sandbox import Sandbox
from workers.settings import WorkerSettings


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> WorkerSettings:
    return WorkerSettings(
        data_dir=tmp_path_factory.mktemp("data"),
        runner_processes=64,
        runner_memory_bytes=2 * 2**30,
        runner_file_bytes=2**20,
    )


@pytest.fixture(scope="session")
def sandbox(settings: WorkerSettings) -> Iterator[Sandbox]:
    if sys.platform != "linux":
        pytest.skip("the sandbox is for Linux")
    found = Sandbox.of(settings)
    if not found.complete:
        pytest.skip(f"this kernel cannot lock a runner in: {found.report}")
    yield found
    found.close()


@pytest.fixture
def confined(sandbox: Sandbox, settings: WorkerSettings, tmp_path: Path) -> Confined:
    return Confined(sandbox, settings.scratch_root / tmp_path.name)
