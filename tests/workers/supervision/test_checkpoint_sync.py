"""Checkpoints between attempts: they stay on the host, travel through the artifact store, and go when the job ends."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from api_schemas.errors import LayercutError
from api_schemas.jobs import Status
from store.artifacts import ArtifactStore
from tests.support.processes import eventually
from tests.support.supervisor_rig import FAKE_RUNNER, Rig, no_inputs
from workers.settings import WorkerSettings
from workers.supervision.checkpoint_sync import sweep_ended


def kept_here(rig: Rig, job_id: str) -> set[str]:
    return {path.name for path in (rig.settings.checkpoint_root / job_id).glob("*")}


def kept_in_store(rig: Rig, job_id: str) -> set[str]:
    return {prefix.rpartition("/")[2] for prefix in rig.artifacts.prefixes(f"jobs/{job_id}/checkpoint")}


def lose_an_attempt(rig: Rig, tmp_path: Path, *acts: str) -> str:
    """A job whose second attempt writes down the checkpoints that it found."""
    (tmp_path / "first").touch()
    job_id = rig.submit(f"checkpoints:{tmp_path}/seen", *acts, f"exit-once:{tmp_path}/first", "succeed")
    assert rig.supervisor.work()
    assert rig.store.get(job_id).status == Status.QUEUED
    return job_id


def test_another_attempt_on_the_same_host_finds_them(rig: Rig, tmp_path: Path) -> None:
    job_id = lose_an_attempt(rig, tmp_path, "checkpoint:baseline-1-000000010")
    assert rig.supervisor.work()

    assert json.loads((tmp_path / "seen").read_text()) == {"baseline-1-000000010": "weights of baseline-1-000000010"}
    assert rig.store.get(job_id).status == Status.SUCCEEDED


def test_another_host_gets_the_furthest_of_each_training(rig: Rig, tmp_path: Path) -> None:
    names = ["baseline-1-000000010", "baseline-1-000000200", "recovering-1-000000030"]
    job_id = lose_an_attempt(rig, tmp_path, *(f"checkpoint:{name}" for name in names))
    shutil.rmtree(rig.settings.checkpoint_root)
    assert kept_in_store(rig, job_id) == set(names[1:])
    assert rig.supervisor.work()

    assert json.loads((tmp_path / "seen").read_text()) == {name: f"weights of {name}" for name in names[1:]}


@pytest.mark.slow
def test_one_that_is_damaged_in_the_store_does_not_cost_the_others(rig: Rig, tmp_path: Path) -> None:
    sound = "recovering-1-000000030"
    job_id = lose_an_attempt(rig, tmp_path, "checkpoint:baseline-1-000000200", f"checkpoint:{sound}")
    shutil.rmtree(rig.settings.checkpoint_root)
    (damaged,) = (rig.settings.data_dir / "artifacts").glob(f"jobs/{job_id}/checkpoint/baseline-*/state.safetensors")
    damaged.write_bytes(b"")
    assert rig.supervisor.work()

    assert json.loads((tmp_path / "seen").read_text()) == {sound: f"weights of {sound}"}
    assert rig.store.get(job_id).status == Status.SUCCEEDED


def test_a_host_that_fell_behind_is_brought_up_to_date_and_one_ahead_is_left(rig: Rig, tmp_path: Path) -> None:
    job_id = lose_an_attempt(rig, tmp_path, "checkpoint:baseline-1-000000200", "checkpoint:recovering-1-000000030")
    root = rig.settings.checkpoint_root / job_id
    (root / "baseline-1-000000200").rename(root / "baseline-1-000000100")
    (root / "recovering-1-000000030").rename(root / "recovering-1-000000070")
    assert rig.supervisor.work()

    assert set(json.loads((tmp_path / "seen").read_text())) == {"baseline-1-000000200", "recovering-1-000000070"}


def test_a_worker_that_stops_hands_the_job_back_with_its_last_checkpoint(rig: Rig, tmp_path: Path) -> None:
    job_id = rig.submit("checkpoint-at-term:baseline-1-000000042", f"touch:{tmp_path}/here", "linger")
    thread = rig.start()
    eventually((tmp_path / "here").exists)
    rig.supervisor.stop()
    thread.join(20)

    assert not thread.is_alive()
    assert rig.store.get(job_id).status == Status.QUEUED
    assert kept_in_store(rig, job_id) == {"baseline-1-000000042"}
    assert "checkpoint baseline-1-000000042" in rig.texts(job_id)


def test_a_cancelled_job_keeps_what_it_has_for_a_retry(rig: Rig, tmp_path: Path) -> None:
    job_id = rig.submit("checkpoint:baseline-1-000000010", f"touch:{tmp_path}/here", "linger")
    thread = rig.start()
    eventually((tmp_path / "here").exists)
    rig.store.cancel(job_id)
    thread.join(20)

    assert rig.store.get(job_id).status == Status.CANCELLED
    assert kept_here(rig, job_id) == kept_in_store(rig, job_id) == {"baseline-1-000000010"}


@pytest.mark.parametrize("ending", ["succeed", "fail:protocol_violation"])
def test_they_go_when_the_job_ends_with_nothing_to_go_on_with(rig: Rig, ending: str) -> None:
    job = rig.run("checkpoint:baseline-1-000000010", ending)

    assert job.status.terminal
    assert kept_here(rig, job.id) == set()
    eventually(lambda: not kept_in_store(rig, job.id))


def test_a_retry_goes_on_from_the_last_checkpoint_on_another_host(rig: Rig, tmp_path: Path) -> None:
    failed = rig.run("checkpoint:baseline-1-000000010", f"checkpoints:{tmp_path}/seen", "fail:training_diverged")
    assert failed.status == Status.FAILED
    shutil.rmtree(rig.settings.checkpoint_root)
    rig.store.retry(failed.id)
    assert rig.supervisor.work()

    assert json.loads((tmp_path / "seen").read_text()) == {"baseline-1-000000010": "weights of baseline-1-000000010"}
    assert rig.store.get(failed.id).attempt == 2


def test_they_go_on_this_host_when_their_time_is_over(rig: Rig) -> None:
    failed = rig.run("checkpoint:baseline-1-000000010", "fail:training_diverged")
    sweep_ended(rig.settings.checkpoint_root, rig.store, days=7)
    assert kept_here(rig, failed.id) == {"baseline-1-000000010"}
    sweep_ended(rig.settings.checkpoint_root, rig.store, days=0)
    assert kept_here(rig, failed.id) == set()


def test_those_of_a_job_that_was_deleted_go_with_the_next_job(rig: Rig, tmp_path: Path) -> None:
    job_id = lose_an_attempt(rig, tmp_path, "checkpoint:baseline-1-000000010")
    rig.store.cancel(job_id)
    rig.run("succeed")
    assert kept_here(rig, job_id), "it may be asked for again"
    rig.store.delete(job_id)
    rig.run("succeed")

    assert kept_here(rig, job_id) == set()


def test_a_store_that_keeps_nothing_does_not_hurt_the_job(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: ArtifactStore, start: str) -> list[str]:
        raise OSError("the store is away")

    monkeypatch.setattr(ArtifactStore, "prefixes", refuse)
    job = rig.run("checkpoint:baseline-1-000000010", "succeed")

    assert job.status == Status.SUCCEEDED


def test_a_link_in_the_place_of_one_is_not_followed(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "state.safetensors").write_text("secret")
    job_id = lose_an_attempt(rig, tmp_path, f"plant:checkpoints/baseline-1-000000010={tmp_path}/host")
    assert kept_here(rig, job_id) == kept_in_store(rig, job_id) == set()
    assert rig.supervisor.work()

    assert json.loads((tmp_path / "seen").read_text()) == {}


def test_only_the_files_of_a_checkpoint_are_kept_of_one(rig: Rig, tmp_path: Path) -> None:
    name = "baseline-1-000000010"
    job_id = lose_an_attempt(rig, tmp_path, f"checkpoint:{name}", f"plant:checkpoints/{name}/more={tmp_path}")
    kept = rig.settings.checkpoint_root / job_id / name
    assert [path.name for path in kept.iterdir()] == ["state.safetensors"]


def test_one_that_is_too_large_is_not_kept(worker_settings: WorkerSettings, tmp_path: Path) -> None:
    rig = Rig(worker_settings.model_copy(update={"runner_file_bytes": 10}), FAKE_RUNNER, no_inputs)
    try:
        job_id = lose_an_attempt(rig, tmp_path, "checkpoint:baseline-1-000000010")
        assert kept_here(rig, job_id) == set()
    finally:
        rig.close()


def test_those_of_more_trainings_than_a_job_has_are_not_kept(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.supervision.checkpoint_sync.MAX_TRAININGS", 2)
    job_id = lose_an_attempt(rig, tmp_path, *(f"checkpoint:baseline-{seed}-000000010" for seed in range(4)))
    assert kept_here(rig, job_id) == {"baseline-0-000000010", "baseline-1-000000010"}


def test_a_runner_cannot_change_one_that_was_kept_nor_one_that_it_was_lent(
    rig: Rig, tmp_path_factory: pytest.TempPathFactory
) -> None:
    name, place = "baseline-1-000000010", tmp_path_factory.mktemp("p")  # short: acts must fit
    changes = f"scribble:checkpoints/{name}/state.safetensors=changed"
    # In its first attempt it writes one, and changes it when it was kept; in its second it changes what it was lent.
    acts = (
        changes, f"exit-once:{place}/second", f"checkpoint:{name}", f"touch:{place}/here", f"wait:{place}/go",
        changes, f"exit-once:{place}/third", "succeed",
    )  # fmt: skip
    (place / "third").touch()
    job_id = rig.submit(*acts)
    thread = rig.start()
    eventually(lambda: kept_in_store(rig, job_id))
    (place / "go").touch()
    thread.join(20)
    kept = rig.settings.checkpoint_root / job_id / name / "state.safetensors"
    assert kept.read_text() == f"weights of {name}"

    (place / "second").touch()
    assert rig.supervisor.work()
    assert kept.read_text() == f"weights of {name}"


def test_each_attempt_has_the_whole_of_its_time(rig: Rig, tmp_path: Path) -> None:
    """``limits.max_runtime_seconds`` counts from the attempt's own start, whatever earlier ones took."""
    job_id = rig.submit(f"exit-once:{tmp_path}/first", "linger", max_runtime_seconds=1)
    (tmp_path / "first").touch()
    assert rig.supervisor.work()
    with rig.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE jobs SET created_at = '2020-01-01', started_at = '2020-01-01'")
    assert rig.supervisor.work()

    job = rig.store.get(job_id)
    assert job.attempt == 2
    assert job.error is not None
    assert job.error.code == "timeout"


def test_one_that_lost_its_bytes_here_comes_from_the_store(rig: Rig, tmp_path: Path) -> None:
    name = "baseline-1-000000010"
    job_id = lose_an_attempt(rig, tmp_path, f"checkpoint:{name}")
    kept = rig.settings.checkpoint_root / job_id / name / "state.safetensors"
    kept.write_bytes(b"")  # as a machine leaves it that lost power
    assert rig.supervisor.work()

    assert json.loads((tmp_path / "seen").read_text()) == {name: f"weights of {name}"}


@pytest.mark.parametrize("again", ["baseline-1-000000010", "baseline-1-000000500"])
def test_what_is_trained_anew_takes_the_place_of_one_that_could_not_be_used(
    rig: Rig, tmp_path: Path, again: str
) -> None:
    useless = "baseline-1-000000500"
    # The first attempt leaves one; the second begins anew, and writes one of fewer steps, or of as many.
    (tmp_path / "first").touch()
    (tmp_path / "2").touch()
    job_id = rig.submit(
        f"leave-once:{tmp_path}/first={useless}", f"anew:{again}={useless}", f"exit-once:{tmp_path}/2", "linger"
    )
    assert rig.supervisor.work()
    assert kept_in_store(rig, job_id) == {useless}
    assert rig.supervisor.work()

    assert kept_here(rig, job_id) == kept_in_store(rig, job_id) == {again}
    stored = rig.settings.data_dir / "artifacts" / f"jobs/{job_id}/checkpoint/{again}/state.safetensors"
    assert stored.read_text() == f"anew {again}"


def test_a_download_that_is_left_behind_harms_none_of_the_next_attempt(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "baseline-1-000000200"
    job_id = lose_an_attempt(rig, tmp_path, f"checkpoint:{name}")
    shutil.rmtree(rig.settings.checkpoint_root)
    fetch, begun, go = ArtifactStore.fetch, threading.Event(), threading.Event()
    left_behind, meanwhile = list[threading.Thread](), list[set[str]]()

    def slow(self: ArtifactStore, prefix: str, folder: Path, **more: Any) -> None:
        if not left_behind:
            left_behind.append(threading.current_thread())
            fetch(self, prefix, folder, **more)
            begun.set()
            go.wait(20)
        elif threading.current_thread() not in left_behind:
            (folder / "state.safetensors").write_text("half")
            go.set()
            left_behind[0].join(20)
            meanwhile.append({path for path in kept_here(rig, job_id) if not path.startswith(".")})
            fetch(self, prefix, folder, **more)

    monkeypatch.setattr(ArtifactStore, "fetch", slow)
    thread = rig.start()
    assert begun.wait(20)
    rig.supervisor.stop()  # hands the job back, and leaves the download behind
    thread.join(20)
    rig.supervisor.stopping = False
    assert rig.supervisor.work()

    assert meanwhile == [set()], "no other has put in place what is half there"
    assert json.loads((tmp_path / "seen").read_text()) == {name: f"weights of {name}"}
    assert rig.store.get(job_id).status == Status.SUCCEEDED
    eventually(lambda: not list(rig.settings.checkpoint_root.glob("*/.*")))


def test_a_worker_that_stops_does_not_wait_out_the_pause_of_a_store_that_is_back(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.supervision.checkpoint_sync.Pauses.next", lambda _: 30.0)
    publish, refused, back = ArtifactStore.publish, threading.Event(), threading.Event()

    def away(self: ArtifactStore, prefix: str, folder: Path) -> object:
        if back.is_set():
            return publish(self, prefix, folder)
        refused.set()
        raise LayercutError("storage_unavailable", "the store is away")

    monkeypatch.setattr(ArtifactStore, "publish", away)
    job_id = rig.submit("checkpoint:baseline-1-000000042", "linger")
    thread = rig.start()
    assert refused.wait(20)
    back.set()
    rig.supervisor.stop()
    thread.join(20)

    assert rig.store.get(job_id).status == Status.QUEUED
    assert kept_in_store(rig, job_id) == {"baseline-1-000000042"}
