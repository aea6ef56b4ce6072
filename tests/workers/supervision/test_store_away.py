"""A store or a hub that is away for a while: what is finished is not made again, and no user reads a path of ours."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from api_schemas.errors import LayercutError
from api_schemas.events import EventType
from api_schemas.jobs import Job, Status
from sources.blocks import Stopped
from sources.staging import Staged
from store import outages
from store.jobs import Claim
from tests.support.events import queue
from tests.support.processes import eventually
from tests.support.s3_server import BUCKET, bucket
from tests.support.supervisor_rig import FAKE_RUNNER, Rig, no_inputs
from tests.support.tiny_models import tiny_model
from workers.settings import WorkerSettings
from workers.supervision import attempt, checkpoint_sync, input_staging
from workers.supervision.input_staging import stage_inputs

CHECKPOINT = "recovering-1-000000030"


class Away:
    """The artifact store, while something lies in its place."""

    def __init__(self, rig: Rig) -> None:
        self._place = rig.settings.data_dir / "artifacts" / "jobs"
        self._kept = self._place.with_name("kept")

    def begin(self) -> None:
        if self._place.exists():
            self._place.rename(self._kept)
        self._place.write_text("in the way")

    def end(self) -> None:
        self._place.unlink()
        if self._kept.exists():
            self._kept.rename(self._place)


@pytest.fixture
def away(rig: Rig) -> Away:
    return Away(rig)


def no_paths(rig: Rig, job: Job) -> None:
    told = f"{rig.texts(job.id)} {job.status_reason} {job.error}"
    assert str(rig.settings.data_dir) not in told
    assert "Debug source" not in told


@pytest.mark.parametrize("ending", ["succeed", "fail-with-files"])
def test_publishing_goes_on_when_the_store_is_back(rig: Rig, away: Away, ending: str) -> None:
    away.begin()
    job_id = rig.submit(ending)
    thread = rig.start()
    eventually(lambda: "storage_unavailable" in rig.texts(job_id))
    away.end()
    thread.join(20)

    job = rig.store.get(job_id)
    assert (job.status.terminal, job.attempt) == (True, 1)
    prefix = rig.store.artifact(job_id)
    assert prefix is not None
    assert rig.artifacts.manifest(prefix).files
    no_paths(rig, job)


def test_a_cancel_is_heeded_while_the_store_is_away(rig: Rig, away: Away) -> None:
    away.begin()
    job_id = rig.submit("succeed")
    thread = rig.start()
    eventually(lambda: "storage_unavailable" in rig.texts(job_id))
    rig.store.cancel(job_id)
    thread.join(20)

    assert rig.store.get(job_id).status == Status.CANCELLED


@pytest.mark.parametrize("ending", ["succeed", "fail-with-files"])
def test_one_that_stays_away_costs_no_attempt_and_the_next_goes_on(
    rig: Rig, away: Away, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(attempt, "PUBLISHING_SECONDS", 0.3)
    monkeypatch.setattr(checkpoint_sync, "AWAY_SECONDS", 0.1)
    rig.settings.kill_grace_seconds = 0.2
    away.begin()
    job = rig.run(f"checkpoints:{tmp_path}/seen", f"checkpoint:{CHECKPOINT}", ending, max_attempts=1)

    assert job.status == Status.QUEUED
    lost = rig.events(job.id)[-1]
    assert lost.type == EventType.ATTEMPT_LOST
    assert lost.data.error is not None
    assert lost.data.error.code == "storage_unavailable"
    assert lost.data.attempts_left == 1
    no_paths(rig, job)

    (tmp_path / "seen").unlink()
    assert rig.supervisor.work(), "while it is still away"
    job = rig.store.get(job.id)
    assert (job.status, rig.events(job.id)[-1].data.attempts_left) == (Status.QUEUED, 1)
    assert not (tmp_path / "seen").exists()

    away.end()
    assert rig.supervisor.work()
    assert rig.store.get(job.id).status.terminal
    assert rig.store.artifact(job.id) is not None
    assert CHECKPOINT in json.loads((tmp_path / "seen").read_text())


def test_a_store_that_refuses_to_be_written_to_ends_the_job_and_says_so(
    worker_settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One that did so before the claim would have kept the worker from it: test_store_check.py."""
    monkeypatch.setattr(attempt, "PUBLISHING_SECONDS", 0.3)
    monkeypatch.setattr(outages, "LONGEST", timedelta(microseconds=1))
    worker_settings.kill_grace_seconds = 0.2
    with bucket() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        rig = Rig(worker_settings.model_copy(update={"artifacts_url": f"s3://{BUCKET}/a"}), FAKE_RUNNER, no_inputs)
        job_id = rig.submit(f"touch:{tmp_path}/here", f"wait:{tmp_path}/go", "succeed", max_attempts=1)
        thread = rig.start()
        eventually((tmp_path / "here").exists)
        server.refuses = {"PUT"}
        (tmp_path / "go").touch()
        thread.join(20)
        job = rig.store.get(job_id)
        assert job.status == Status.QUEUED
        assert rig.supervisor.work()
        job = rig.store.get(job.id)
        assert job.error is not None
        assert (job.status, job.error.code, job.error.stage) == (Status.FAILED, "storage_unavailable", "publishing")
        assert job.error.retryable
        assert f"the artifact store at {server.environment['AWS_ENDPOINT']}/{BUCKET} refuses" in job.error.message
        assert "its key has expired or was revoked" in job.error.message

        server.refuses = set()
        rig.store.retry(job.id)
        assert rig.supervisor.work()
        assert rig.store.get(job.id).status == Status.SUCCEEDED
        rig.close()


def test_checkpoints_are_carried_when_the_store_is_back(rig: Rig, away: Away, tmp_path: Path) -> None:
    away.begin()
    job_id = rig.submit(f"checkpoint:{CHECKPOINT}", f"touch:{tmp_path}/here", f"wait:{tmp_path}/go", "exit:1")
    thread = rig.start()
    eventually((tmp_path / "here").exists)
    eventually((rig.settings.checkpoint_root / job_id / CHECKPOINT).exists)
    away.end()
    eventually(lambda: rig.artifacts.prefixes(f"jobs/{job_id}/checkpoint"))
    (tmp_path / "go").touch()
    thread.join(20)


def test_an_attempt_that_goes_on_waits_for_the_store(rig: Rig, away: Away, tmp_path: Path) -> None:
    (tmp_path / "first").touch()
    acts = (f"checkpoints:{tmp_path}/seen", f"checkpoint:{CHECKPOINT}", f"exit-once:{tmp_path}/first", "succeed")
    job = rig.run(*acts)
    assert job.status == Status.QUEUED
    (tmp_path / "seen").unlink()
    shutil.rmtree(rig.settings.checkpoint_root)
    away.begin()
    thread = rig.start()
    eventually(lambda: "storage_unavailable" in rig.texts(job.id))
    assert not (tmp_path / "seen").exists(), "it begins nothing anew meanwhile"
    away.end()
    thread.join(20)

    assert rig.store.get(job.id).status == Status.SUCCEEDED
    assert CHECKPOINT in json.loads((tmp_path / "seen").read_text())


def test_one_whose_store_goes_away_again_and_again_does_not_begin_anew(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "first").touch()
    acts = (f"checkpoints:{tmp_path}/seen", f"checkpoint:{CHECKPOINT}", f"exit-once:{tmp_path}/first", "succeed")
    assert rig.run(*acts).status == Status.QUEUED
    shutil.rmtree(rig.settings.checkpoint_root)
    fetch, faults = rig.artifacts.fetch, [ConnectionResetError(errno.ECONNRESET, "reset") for _ in range(3)]

    def unsteady(prefix: str, folder: Path, **more: Any) -> None:
        if faults:
            raise faults.pop()
        fetch(prefix, folder, **more)

    monkeypatch.setattr(rig.artifacts, "fetch", unsteady)
    assert rig.supervisor.work()
    assert CHECKPOINT in json.loads((tmp_path / "seen").read_text())


@pytest.fixture
def real(worker_settings: WorkerSettings, tmp_path: Path) -> Iterator[Rig]:
    """With runners and inputs as users have them."""
    settings = worker_settings.model_copy(update={"model_roots": [tmp_path], "data_roots": [tmp_path]})
    rig = Rig(settings, [sys.executable, "-P", "-m", "workers.runner"], stage_inputs(settings, another_user=False))
    yield rig
    rig.close()


@pytest.mark.slow
@pytest.mark.long
def test_what_is_trained_is_not_trained_again_because_the_store_was_away(
    real: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "PUBLISHING_SECONDS", 0.3)
    rows = [f"{'a joy full of wit' if row % 2 else 'a dull and lifeless story'} {row},{row % 2}" for row in range(60)]
    (tmp_path / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    table = {"dataset": str(tmp_path / "reviews.csv"), "text_columns": ["text"], "label_column": "label"}
    sent = {
        "model": str(tiny_model("bert", tmp_path / "bert", layers=3)), "task": table, "prune": {"drop": 1},
        "recovery": {"epochs": 2, "batch_size": 8}, "evaluation": {"latency": {"batch_sizes": []}},
    }  # fmt: skip
    job_id = queue(real.store, sent).id
    away = Away(real)
    away.begin()
    assert real.supervisor.work()
    assert real.store.get(job_id).status == Status.QUEUED, real.texts(job_id)
    away.end()
    before = len(real.events(job_id))
    assert real.supervisor.work()

    job = real.store.get(job_id)
    assert job.status == Status.SUCCEEDED, job.error
    again = real.events(job_id)[before:]
    messages = [event.message for event in again]
    assert "finished in attempt 1" in messages
    assert any(message.startswith("reused: baseline ") for message in messages)
    # A step of a training has an epoch; other work that takes long tells its parts, on a slow machine.
    assert [event.message for event in again if event.type == EventType.PROGRESS and event.data.epoch] == []


def test_a_full_disk_at_publishing_is_told_as_that(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fstatvfs", lambda _: SimpleNamespace(f_bavail=0, f_frsize=4096))
    job = rig.run("succeed", max_attempts=2)
    assert job.status == Status.QUEUED
    assert "storage_full" in (job.status_reason or "")
    assert rig.supervisor.work()

    job = rig.store.get(job.id)
    assert job.error is not None
    assert (job.status, job.error.code, job.error.retryable) == (Status.FAILED, "storage_full", True)
    no_paths(rig, job)


@pytest.mark.parametrize("code", ["storage_full", "hub_unavailable"])
def test_what_a_runner_says_to_pass_is_tried_again(rig: Rig, code: str) -> None:
    job = rig.run(f"fail:{code}", max_attempts=2)
    assert job.status == Status.QUEUED
    assert rig.supervisor.work()
    job = rig.store.get(job.id)
    assert job.error is not None
    assert (job.status, job.error.code) == (Status.FAILED, code)


class Faults:
    """A staging that fails with each of ``errors`` first, and leaves half of it lying about."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.found: list[list[str]] = []

    def __call__(self, claim: Claim, folder: Path, stopped: Stopped) -> Staged:
        self.found.append([path.name for path in folder.iterdir()])
        if self.errors:
            (folder / "half").write_text("x")
            raise self.errors.pop(0)
        return no_inputs(claim, folder, stopped)


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def staged(worker_settings: WorkerSettings, faults: Faults) -> Iterator[Rig]:
    rig = Rig(worker_settings, FAKE_RUNNER, faults)
    yield rig
    rig.close()


def test_a_hub_that_is_away_for_a_moment_costs_no_attempt(staged: Rig, faults: Faults) -> None:
    faults.errors = [LayercutError("hub_unavailable", "the hub did not answer")]
    job = staged.run("succeed")

    assert (job.status, job.attempt) == (Status.SUCCEEDED, 1)
    assert "hub_unavailable: the hub did not answer. It is tried again" in staged.texts(job.id)
    assert faults.found == [[], []]


def test_a_hub_that_stays_away_costs_none_either(staged: Rig, faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_staging, "AWAY_SECONDS", 0.0)
    faults.errors = [LayercutError("hub_unavailable", "the hub did not answer")]
    job = staged.run("succeed", max_attempts=1)
    assert job.status == Status.QUEUED
    lost = staged.events(job.id)[-1].data
    assert (lost.attempts_left, lost.error.code, lost.error.stage) == (1, "hub_unavailable", "resolving")

    assert staged.supervisor.work()
    assert staged.store.get(job.id).status == Status.SUCCEEDED


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (LayercutError("dataset_invalid", "no rows"), Status.FAILED, "dataset_invalid"),
        (OSError(errno.ENOSPC, "No space left on device", "/secret/path"), Status.QUEUED, "storage_full"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/secret/path"), Status.QUEUED, "internal"),
    ],
)
def test_a_runner_whose_job_could_not_be_staged_waits_for_the_next(
    staged: Rig, faults: Faults, error: Exception, status: Status, code: str
) -> None:
    faults.errors = [error]
    staged.supervisor.prepare()
    folder = staged.waiting_folder
    job = staged.run("succeed")
    assert job.status == status
    assert code in (job.status_reason or "") or code == (job.error and job.error.code)
    assert "/secret" not in staged.texts(job.id)
    assert staged.waiting_folder == folder

    if status == Status.QUEUED:
        staged.store.cancel(job.id)
    assert staged.run("succeed").status == Status.SUCCEEDED
    assert faults.found == [[], []]
