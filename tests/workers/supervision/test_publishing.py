"""What a runner that was taken over leaves for the world, and what of it is published."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from obstore.exceptions import BaseError

from api_schemas.errors import JobError
from api_schemas.jobs import Job, Status
from store.artifacts import ArtifactStore
from store.manifests import Archive, Manifest
from tests.support.fake_runner import make_artifact
from tests.support.nested_folders import nest
from tests.support.processes import eventually
from tests.support.supervisor_rig import Rig
from workers.supervision import attempt, scratch
from workers.supervision.publishing import publish_export


def error_of(job: Job) -> JobError:
    assert job.status == Status.FAILED
    assert job.error is not None
    return job.error


def test_hashes_and_tar_are_made_of_what_is_published(rig: Rig) -> None:
    """The runner of these tests leaves false ones."""
    job = rig.run("succeed")
    prefix = rig.store.artifact(job.id)
    assert prefix is not None
    manifest = rig.artifacts.manifest(prefix)
    bodies = {
        file.name: b"".join(rig.artifacts.open_range(prefix, file.name, 0, file.bytes)) for file in manifest.files
    }
    for file in manifest.files:
        assert hashlib.sha256(bodies[file.name]).hexdigest() == file.sha256
    assert isinstance(manifest.archive, Archive)
    assert (manifest.archive.name, manifest.archive.top) == (f"{job.id}.tar", job.id)
    packed = b"".join(
        piece if isinstance(piece, bytes) else bodies[piece.name] for piece in manifest.layout(job.id).pieces()
    )
    assert hashlib.sha256(packed).hexdigest() == manifest.archive.sha256
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        unpacked = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}  # type: ignore[union-attr]
    assert unpacked == {f"{job.id}/{name}": body for name, body in bodies.items()}
    sums = bodies.pop("SHA256SUMS").decode()
    expected = [f"{hashlib.sha256(body).hexdigest()}  {name}\n" for name, body in sorted(bodies.items())]
    assert sums == "".join(expected)


@pytest.mark.parametrize(
    ("act", "named"),
    [
        ("export:sparse=model.safetensors", "model.safetensors' is sparse"),
        ("export:many=vocab.txt", "vocab.txt-"),
        ("export:link=1_Pooling", "'1_Pooling' is a link"),
        ("export:pipe=vocab.json", "'vocab.json' is no regular file"),
        ("export:second-name=vocab.json", "'vocab.json' has a second name"),
        ("export:folder=config.json", "'config.json' is no regular file"),
        ("export:pickle=pytorch_model.bin", "'pytorch_model.bin' is no file"),
        ("export:pickle=vocab.txt", "'vocab.txt' begins as a pickle"),
        ("export:file=modeling_x.py", "'modeling_x.py' is no file"),
        ("export:file=manifest.json", "'manifest.json' is no file"),
        ("export:truncated=model.safetensors", "model.safetensors"),
        ("export:longer=model.safetensors", "model.safetensors"),
        ('export:text=config.json={"auto_map":{"AutoModel":"x.Y"}}', "remote code (auto_map)"),
        ("export:text=report.json={}", "report.json is no report"),
    ],
)
def test_what_no_job_delivers_ends_it_for_good(rig: Rig, act: str, named: str) -> None:
    job = rig.run(act, "succeed")

    error = error_of(job)
    assert (error.code, error.stage, error.retryable) == ("verification_failed", "publishing", False)
    assert named in error.message
    assert str(rig.settings.data_dir) not in error.message
    assert rig.stored(job.id) == []
    assert rig.scratch() == []


def test_of_a_job_that_missed_its_objective_nothing_else_is_published_either(rig: Rig) -> None:
    job = rig.run("export:pickle=pytorch_model.bin", "fail-with-files")

    assert error_of(job).code == "objective_not_met"
    assert rig.store.artifact(job.id) is None
    assert rig.stored(job.id) == []


def test_more_than_the_worker_publishes_is_refused(rig: Rig) -> None:
    rig.settings.artifact_bytes = 1000
    assert "at most 1000 are published" in error_of(rig.run("succeed")).message


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """What a runner exported, in the scratch folder of its attempt."""
    folder = tmp_path / "scratch" / "out"
    folder.mkdir(parents=True)
    return folder / str(make_artifact(folder)["folder"])


PREFIX = "jobs/job_1/attempts/1-aa"


def publish(export: Path, artifacts: ArtifactStore, stopped: bool = False) -> Manifest:
    names = ("out", export.name)
    return publish_export(export.parents[1], names, artifacts, PREFIX, "job_1", limit=2**20, stopped=lambda: stopped)


def check_whole(artifacts: ArtifactStore, manifest: Manifest) -> None:
    assert artifacts.manifest(PREFIX) == manifest
    for file in manifest.files:
        body = b"".join(artifacts.open_range(PREFIX, file.name, 0, file.bytes))
        assert hashlib.sha256(body).hexdigest() == file.sha256


def test_publishing_goes_on_where_the_store_failed(export: Path, tmp_path: Path) -> None:
    artifacts, stored = ArtifactStore(f"file://{tmp_path}/store"), tmp_path / "store" / PREFIX
    in_the_way = stored / "vocab.txt" / "x"
    in_the_way.mkdir(parents=True)
    with pytest.raises(BaseError):
        publish(export, artifacts)
    assert not (stored / "manifest.json").exists()
    sent = (stored / "README.md").stat().st_ino

    in_the_way.rmdir()
    in_the_way.parent.rmdir()
    (export / "README.md").write_text("# the runner is somebody else's by now\n")
    manifest = publish(export, artifacts)

    check_whole(artifacts, manifest)
    assert (stored / "README.md").read_text() == "# a card\n", "what was checked is what is published"
    assert (stored / "README.md").stat().st_ino == sent, "what was sent is not sent again"
    check_whole(artifacts, publish(export, artifacts))


def test_and_where_the_copying_was_broken_off(export: Path, tmp_path: Path) -> None:
    artifacts = ArtifactStore(f"file://{tmp_path}/store")
    with pytest.raises(OSError, match="nobody waits"):
        publish(export, artifacts, stopped=True)
    check_whole(artifacts, publish(export, artifacts))


class Endless:
    """Files that have no end; ``begun`` once the first is sent, until they are ``released``."""

    def __init__(self) -> None:
        self.begun, self.released = threading.Event(), threading.Event()

    def blocks_of(self, path: Path) -> Iterator[bytes]:
        self.begun.set()
        while not self.released.wait(0.01):
            yield b""
        yield path.read_bytes()


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> Endless:
    made = Endless()
    monkeypatch.setattr("workers.supervision.publishing.blocks_of", made.blocks_of)
    return made


def test_a_cancel_is_heeded_while_files_are_sent(rig: Rig, endless: Endless) -> None:
    job_id = rig.submit("succeed")
    thread = rig.start()
    assert endless.begun.wait(20)
    rig.store.cancel(job_id)
    thread.join(20)

    assert not thread.is_alive()
    assert rig.store.get(job_id).status == Status.CANCELLED
    assert rig.stored(job_id) == []


def test_a_cancel_is_heeded_while_things_of_the_cache_are_sent(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = Endless()
    monkeypatch.setattr("store.artifacts.blocks_of", endless.blocks_of)
    rig.settings.kill_grace_seconds = 0.2
    job_id = rig.submit("want:a", "fill:weights", "made:a", "succeed")
    thread = rig.start()
    assert endless.begun.wait(20)
    rig.store.cancel(job_id)
    thread.join(20)

    assert not thread.is_alive()
    assert rig.store.get(job_id).status == Status.CANCELLED
    eventually(lambda: not any(thread.name == "cache-uploads" for thread in threading.enumerate()))


def test_so_is_the_clock(rig: Rig, endless: Endless, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "PUBLISHING_SECONDS", 0.1)
    job = rig.run("succeed", max_runtime_seconds=3)

    assert endless.begun.is_set()
    assert error_of(job).code == "timeout"
    assert rig.stored(job.id) == []


def test_what_takes_too_long_to_publish_does_not_hide_how_the_job_failed(
    rig: Rig, endless: Endless, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "PUBLISHING_SECONDS", 0.1)
    job = rig.run("fail-with-files", max_runtime_seconds=2)

    assert endless.begun.is_set()
    assert error_of(job).code == "objective_not_met"
    assert rig.stored(job.id) == []


def test_a_job_that_ended_in_time_is_not_late_for_its_files(rig: Rig, endless: Endless) -> None:
    job_id = rig.submit("succeed", max_runtime_seconds=2)
    thread = rig.start()
    assert endless.begun.wait(20)
    thread.join(2.2)
    assert thread.is_alive(), "its time is over, and it publishes"
    endless.released.set()
    thread.join(20)

    assert rig.store.get(job_id).status == Status.SUCCEEDED


@pytest.fixture
def endless_cache(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Endless:
    """Things for the cache that have no end."""
    rig.settings.kill_grace_seconds = 0.3
    made = Endless()
    monkeypatch.setattr("store.artifacts.blocks_of", made.blocks_of)
    return made


@pytest.mark.parametrize(
    ("ending", "status", "published"),
    [
        ("succeed", Status.SUCCEEDED, True),
        ("fail-with-files", Status.FAILED, True),
        ("fail:training_diverged", Status.FAILED, False),
    ],
)
def test_what_goes_to_the_cache_makes_no_job_late(
    rig: Rig, endless_cache: Endless, ending: str, status: Status, published: bool
) -> None:
    job = rig.run("want:a", "fill:weights", "made:a", ending, max_runtime_seconds=2)

    assert endless_cache.begun.is_set()
    assert job.status == status
    assert job.error is None or job.error.code != "timeout"
    assert (rig.store.artifact(job.id) is not None) == published


def test_nor_is_a_job_that_is_over_handed_back_for_it(rig: Rig, endless_cache: Endless) -> None:
    job_id = rig.submit("want:a", "fill:weights", "made:a", "succeed")
    thread = rig.start()
    assert endless_cache.begun.wait(20)
    eventually(lambda: "publishing" in rig.texts(job_id))
    rig.supervisor.stop()
    thread.join(20)

    assert rig.store.get(job_id).status == Status.SUCCEEDED


def test_so_is_a_lost_lease(rig: Rig, endless: Endless) -> None:
    rig.settings.heartbeat_seconds = 0.1
    job_id = rig.submit("succeed")
    thread = rig.start()
    assert endless.begun.wait(20)
    rig.steal(job_id)
    thread.join(20)

    assert not thread.is_alive()
    assert rig.store.get(job_id).status == Status.RUNNING  # the other's business
    assert rig.stored(job_id) == []


def test_a_worker_that_is_to_stop_hands_back_what_takes_too_long(rig: Rig, endless: Endless) -> None:
    rig.settings.kill_grace_seconds = 0.2
    job_id = rig.submit("succeed")
    thread = rig.start()
    assert endless.begun.wait(20)
    rig.supervisor.stop()
    thread.join(20)

    job = rig.store.get(job_id)
    assert job.status == Status.QUEUED
    assert "handed the job back" in (job.status_reason or "")
    assert rig.stored(job_id) == []


def test_and_finishes_what_does_not(rig: Rig, endless: Endless) -> None:
    job_id = rig.submit("succeed")
    thread = rig.start()
    assert endless.begun.wait(20)
    rig.supervisor.stop()
    eventually(lambda: rig.supervisor._runner is not None and rig.supervisor._runner.inbox._items.empty())
    endless.released.set()
    thread.join(20)

    assert rig.store.get(job_id).status == Status.SUCCEEDED


def test_folders_in_folders_keep_no_worker_from_its_next_job_or_its_start(rig: Rig) -> None:
    """More of them than Python's own removal could go into, with longer paths than the system takes."""
    assert rig.run("nest:1200", "succeed").status == Status.SUCCEEDED
    assert rig.scratch() == []
    left = rig.settings.scratch_root / "runner-dead"
    left.mkdir()
    nest(left, 300, name="a" * 200)
    scratch.sweep(rig.settings.scratch_root)
    assert rig.scratch() == []
