"""Staging ends, in the middle of a terabyte, with the attempt that it is for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text

from api_schemas.jobs import Status
from api_schemas.requests import JobRequest
from sources.blocks import Stopped
from sources.fingerprint import FileHashes
from sources.settings import SourceSettings
from sources.staging import Staged, Stager
from store.jobs import Claim
from tests.support.sparse_files import write_huge_weights
from tests.support.supervisor_rig import FAKE_RUNNER, Rig
from tests.support.tiny_checkpoints import bert_files
from workers.settings import WorkerSettings

#: The config, the vocabulary, and blocks of the weights.
BEGUN = 10


class Staging:
    """Stages a model with weights of a terabyte, which are hashed."""

    def __init__(self, folder: Path) -> None:
        self.model, self._notes = folder / "models" / "huge", folder / "notes"
        self.model.mkdir(parents=True)
        for name, content in bert_files().items():
            (self.model / name).write_bytes(content)
        write_huge_weights(self.model / "model.safetensors")
        self.asked, self.begun, self.ended = 0, threading.Event(), threading.Event()

    def __call__(self, claim: Claim, folder: Path, stopped: Stopped) -> Staged:
        prune = {"strategy": "parameter_variance", "drop": 1}
        request = JobRequest.model_validate({"model": str(self.model), "task": "none", "prune": prune})
        settings = SourceSettings(model_roots=[self.model.parent])
        stager = Stager(settings, FileHashes(self._notes), folder, 1000, partial(self._asked, stopped))
        try:
            return stager.stage(request, None)
        finally:
            self.ended.set()

    def _asked(self, stopped: Stopped) -> bool:
        self.asked += 1
        if self.asked == BEGUN:
            self.begun.set()
        return stopped()


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    return Staging(tmp_path)


@pytest.fixture
def rig(worker_settings: WorkerSettings, staging: Staging) -> Iterator[Rig]:
    rig = Rig(worker_settings, FAKE_RUNNER, staging)
    yield rig
    rig.close()


def cancel(rig: Rig, job_id: str) -> None:
    rig.store.cancel(job_id)


def stop(rig: Rig, _: str) -> None:
    rig.supervisor.stop()


def lose_the_lease(rig: Rig, job_id: str) -> None:
    with rig.engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET lease_token = 'another' WHERE id = :id"), {"id": job_id})


def wait_for_the_deadline(_: Rig, __: str) -> None:
    """A second, by the job's limit."""


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (cancel, Status.CANCELLED),
        (stop, Status.QUEUED),
        (lose_the_lease, Status.RUNNING),
        (wait_for_the_deadline, Status.FAILED),
    ],
)
def test_hashing_ends_with_the_attempt(
    rig: Rig, staging: Staging, end: Callable[[Rig, str], None], status: Status
) -> None:
    rig.settings.heartbeat_seconds = 0.1
    job_id = rig.submit(max_runtime_seconds=1 if end is wait_for_the_deadline else 3600)
    thread = rig.start()
    assert staging.begun.wait(20)
    end(rig, job_id)
    assert staging.ended.wait(20), "nobody waits, and it is hashed on"
    thread.join(20)
    assert rig.store.get(job_id).status == status
    assert rig.scratch() == []
