"""A worker whose object store would take nothing claims nothing, and says why; and what jobs keep in a real one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from api_schemas.events import EventType
from api_schemas.jobs import Status
from store.artifacts import ArtifactStore
from tests.support.processes import eventually
from tests.support.seaweedfs import OWNER, READER, Identity, Seaweed
from tests.support.supervisor_rig import FAKE_RUNNER, Rig, no_inputs
from workers.settings import WorkerSettings
from workers.supervision.store_check import StoreCheck

CHECKPOINT = "recovering-1-000000030"

Make = Callable[..., Rig]


@pytest.fixture
def make(
    worker_settings: WorkerSettings, s3_url: str, seaweedfs: Seaweed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Make]:
    """A worker on a host of its own, by whose key; what it says of why it takes no job goes to ``told``."""
    rigs: list[Rig] = []

    def made(host: str = "one", who: Identity = OWNER, url: str = s3_url, told: list[str | None] | None = None) -> Rig:
        for name, value in seaweedfs.environment(who).items():
            monkeypatch.setenv(name, value)
        own = {"artifacts_url": url, "database_seconds": 1.0, "scratch_dir": tmp_path / host}
        settings = worker_settings.model_copy(update=own)
        rigs.append(Rig(settings, FAKE_RUNNER, no_inputs, pause=(told if told is not None else []).append))
        return rigs[-1]

    yield made
    for rig in rigs:
        rig.close()


class Case(NamedTuple):
    who: Identity
    bucket: str
    why: str


@pytest.mark.parametrize(
    "case",
    [Case(READER, "layercut", "its key may not do this"), Case(OWNER, "nowhere", "has no such bucket")],
    ids=["a key that may only read", "no bucket"],
)
def test_it_claims_nothing_that_could_not_be_stored(make: Make, seaweedfs: Seaweed, case: Case) -> None:
    told: list[str | None] = []
    rig = make(who=case.who, url=f"s3://{case.bucket}/a", told=told)
    job_id = rig.submit("succeed")
    assert not rig.supervisor.work()
    assert not rig.supervisor.work()
    (said,) = told
    assert said is not None
    assert case.why in said
    assert f"{seaweedfs.endpoint}/{case.bucket}" in said
    assert rig.store.get(job_id).attempt == 0
    assert make("two").supervisor.work(), "another worker, whose key is right"
    assert rig.store.get(job_id).status == Status.SUCCEEDED


def test_one_that_only_does_not_answer_keeps_no_job(make: Make, s3_url: str, seaweedfs: Seaweed) -> None:
    """It may be back by the time that it is needed: the job waits for it, and says so."""
    check = StoreCheck(ArtifactStore(s3_url, 0.5), fresh=0)
    assert check.refusal() is None
    seaweedfs.freeze()
    try:
        assert check.refusal() is None
    finally:
        seaweedfs.thaw()


def test_a_store_that_was_sound_is_not_asked_again_for_a_while(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    artifacts, asked = ArtifactStore(s3_url, 1.0), []
    sound = artifacts.check
    monkeypatch.setattr(artifacts, "check", lambda: asked.append(sound()))
    check = StoreCheck(artifacts)
    assert [check.refusal() for _ in range(3)] == [None] * 3
    assert len(asked) == 1


def test_a_whole_job_is_in_the_bucket_and_on_no_disk(make: Make, tmp_path: Path) -> None:
    rig = make()
    job = rig.run("succeed")
    assert job.status == Status.SUCCEEDED
    prefix = rig.store.artifact(job.id)
    assert prefix is not None
    assert "model.safetensors" in {file.name for file in rig.artifacts.manifest(prefix).files}
    assert list(tmp_path.rglob("model.safetensors")) == []


def test_another_host_goes_on_from_the_checkpoint_in_the_bucket(make: Make, tmp_path: Path) -> None:
    rig = make()
    (tmp_path / "first").touch()
    job_id = rig.submit(
        f"checkpoints:{tmp_path}/seen", f"checkpoint:{CHECKPOINT}", f"exit-once:{tmp_path}/first", "succeed"
    )
    assert rig.supervisor.work()
    assert rig.store.get(job_id).status == Status.QUEUED
    shutil.rmtree(rig.settings.checkpoint_root)
    assert make("two").supervisor.work()
    assert json.loads((tmp_path / "seen").read_text()) == {CHECKPOINT: f"weights of {CHECKPOINT}"}
    assert rig.store.get(job_id).status == Status.SUCCEEDED
    eventually(lambda: rig.artifacts.prefixes(f"jobs/{job_id}/checkpoint") == [])


def test_what_one_host_made_for_the_cache_another_fetches_from_the_bucket(make: Make) -> None:
    def logs(rig: Rig, job_id: str) -> list[str]:
        return [event.message for event in rig.events(job_id) if event.type == EventType.LOG]

    rig, other = make("one"), make("two")
    made = rig.run("want:a", "fill:weights", "made:a", "succeed")
    assert logs(rig, made.id) == ["make:[]", "made:weights"]
    assert logs(other, other.run("want:a", "succeed").id) == ["have:weights:7.0"]


def test_a_right_that_is_taken_away_in_the_middle_is_told_in_the_job_which_goes_on_when_it_is_back(
    make: Make, seaweedfs: Seaweed, tmp_path: Path
) -> None:
    rig = make()
    job_id = rig.submit(f"touch:{tmp_path}/here", f"wait:{tmp_path}/go", "succeed")
    thread = rig.start()
    eventually((tmp_path / "here").exists)
    seaweedfs.let_write(False)
    try:
        (tmp_path / "go").touch()
        eventually(lambda: "its key may not do this" in rig.texts(job_id))
    finally:
        seaweedfs.let_write(True)
    thread.join(60)
    assert rig.store.get(job_id).status == Status.SUCCEEDED
    assert OWNER.access_key not in rig.texts(job_id)
