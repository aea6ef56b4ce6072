"""A worker without room on its disks claims nothing, and says so."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from api_schemas.jobs import Status
from tests.support.small_disk import small_disk
from tests.support.supervisor_rig import FAKE_RUNNER, Rig, no_inputs
from workers.settings import WorkerSettings


class Disk:
    """With ``free`` bytes, wherever one asks."""

    free = 2**40

    def usage(self, _: Path) -> SimpleNamespace:
        return SimpleNamespace(free=self.free)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk()
    monkeypatch.setattr(shutil, "disk_usage", made.usage)
    return made


@pytest.fixture
def told() -> list[str | None]:
    return []


@pytest.fixture
def rig(worker_settings: WorkerSettings, told: list[str | None]) -> Iterator[Rig]:
    rig = Rig(worker_settings, FAKE_RUNNER, no_inputs, pause=told.append)
    yield rig
    rig.close()


def test_no_job_is_claimed_until_there_is_room_again(
    rig: Rig, disk: Disk, told: list[str | None], caplog: pytest.LogCaptureFixture
) -> None:
    job_id = rig.submit("succeed")
    disk.free = 2**30 - 1
    with caplog.at_level(logging.INFO):
        assert [rig.supervisor.work() for _ in range(3)] == [False] * 3
    assert caplog.text.count("no job is claimed") == 1, "once, not at each look"
    (reason,) = told
    assert reason is not None
    assert "1,073,741,823 bytes free" in reason
    assert rig.store.get(job_id).attempt == 0

    disk.free = 2**40
    assert rig.supervisor.work()
    assert rig.store.get(job_id).status == Status.SUCCEEDED
    assert told == [reason, None]


def test_no_job_is_claimed_where_a_disk_has_room_but_takes_no_files(tmp_path: Path, told: list[str | None]) -> None:
    with small_disk(tmp_path / "scratch", megabytes=4, files=40) as folder:
        settings = WorkerSettings(data_dir=tmp_path / "data", scratch_dir=folder, min_free_bytes=0)
        rig = Rig(settings, FAKE_RUNNER, no_inputs, pause=told.append)
        rig.supervisor.prepare()
        job_id = rig.submit("succeed", max_attempts=1)
        fill(folder)
        assert not rig.supervisor.work()
        assert told == ["a runner cannot be started: No space left on device"]
        assert rig.store.get(job_id).attempt == 0

        (folder / "0").unlink()
        assert rig.supervisor.work()
        assert rig.store.get(job_id).attempt == 1
        assert told[-1] is None
        rig.close()


def fill(folder: Path) -> None:
    """With files, until it takes no more."""
    with suppress(OSError):
        for number in range(1000):
            (folder / str(number)).touch()


def test_a_runner_that_dies_on_a_full_disk_is_lost_for_that(rig: Rig, disk: Disk, tmp_path: Path) -> None:
    job_id = rig.submit("stage:baseline", f"touch:{tmp_path}/here", f"wait:{tmp_path}/go", "die:7", max_attempts=1)
    thread = rig.start()
    while not (tmp_path / "here").exists():
        thread.join(0.02)
    disk.free = 0
    (tmp_path / "go").touch()
    thread.join(20)

    job = rig.store.get(job_id)
    assert job.error is not None
    assert (job.error.code, job.error.retryable) == ("storage_full", True)
    assert "SIGBUS" in job.error.message
