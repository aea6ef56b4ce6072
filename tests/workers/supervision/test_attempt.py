"""Every way an attempt can end, with real processes and a real database."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from api_schemas.events import EventType
from api_schemas.jobs import Stage, Status
from tests.support.processes import eventually, gone
from tests.support.supervisor_rig import Rig
from workers.supervision.lease_session import PROGRESS_AFTER


def test_nothing_queued_is_nothing_to_do(rig: Rig) -> None:
    assert rig.supervisor.work() is False


def test_success_publishes_and_points_the_job_at_its_files(rig: Rig) -> None:
    job = rig.run("stage:resolving", "log:hello", "progress:0.25", "progress:0.75", "succeed")

    assert job.status == Status.SUCCEEDED
    assert job.stage == Stage.PUBLISHING
    assert job.result is not None
    assert job.result.layers_dropped == [4, 5]
    assert job.usage is not None
    assert job.usage.training_steps == 2
    prefix = rig.store.artifact(job.id)
    assert prefix is not None
    manifest = rig.artifacts.manifest(prefix)
    names = {"config.json", "model.safetensors", "vocab.txt", "README.md", "SHA256SUMS"}
    assert {file.name for file in manifest.files} == names
    assert manifest.archive.name == f"{job.id}.tar"  # type: ignore[union-attr]
    types = [event.type for event in rig.events(job.id)]
    assert types[-1] == EventType.SUCCEEDED
    assert types.count(EventType.SUCCEEDED) == 1
    assert rig.scratch() == []


def test_the_last_progress_is_always_kept_though_many_are_left_out(rig: Rig) -> None:
    job = rig.run("many:1000", "fail:training_diverged")

    told = [event.data.fraction for event in rig.events(job.id) if event.type == EventType.PROGRESS]
    assert told[-1] == 0.999
    assert told == sorted(told)
    assert len(told) < 200


def test_the_first_progress_of_a_stage_is_not_held_back(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PROGRESS_AFTER, EventType.PROGRESS, 3600.0)
    job_id = rig.submit("stage:baseline", "progress:0.1", "stage:recovering", "progress:0.2", f"wait:{tmp_path}/go")
    rig.start()

    eventually(lambda: [0.2 for event in rig.events(job_id) if getattr(event.data, "fraction", None) == 0.2])
    (tmp_path / "go").touch()


def test_events_keep_their_order_around_progress(rig: Rig) -> None:
    job = rig.run("stage:baseline", "progress:0.1", "progress:0.2", "stage:evaluating", "progress:0.3", "succeed")

    told = [getattr(event.data, "stage", getattr(event.data, "fraction", None)) for event in rig.events(job.id)[2:-1]]
    without_first = [word for word in told if word != 0.1]  # whether there was time to write it is chance
    assert without_first == ["baseline", 0.2, "evaluating", 0.3, "publishing"]


def test_failure_is_the_runners_own_words(rig: Rig) -> None:
    job = rig.run("stage:recovering", "fail:training_diverged")

    assert job.status == Status.FAILED
    assert job.error is not None
    assert (job.error.code, job.error.message) == ("training_diverged", "it broke")
    assert rig.store.artifact(job.id) is None


def test_an_error_that_nobody_foresaw_is_tried_once_more(rig: Rig) -> None:
    job = rig.run("stage:baseline", "checkpoint:1", "moan:the_last_words", "fail:internal")

    assert job.status == Status.QUEUED
    assert job.status_reason == "attempt 1 of 3 was lost: internal: it broke; queued again"
    assert "the_last_words" in rig.texts(job.id)
    assert rig.supervisor.work()
    job = rig.store.get(job.id)
    assert job.status == Status.FAILED
    assert job.error is not None
    assert (job.error.code, job.error.retryable) == ("internal", False)
    assert "attempts 1 and 2 both met this" in job.error.message
    assert not rig.supervisor.work(), "it is not tried for ever"


def test_a_failed_objective_keeps_its_files(rig: Rig) -> None:
    job = rig.run("fail-with-files")

    assert job.status == Status.FAILED
    prefix = rig.store.artifact(job.id)
    assert prefix is not None
    assert rig.artifacts.manifest(prefix).archive.name == f"{job.id}.tar"  # type: ignore[union-attr]


@pytest.mark.parametrize(("act", "reason"), [("exit:3", "exited with code 3"), ("die:9", "killed by SIGKILL")])
def test_a_lost_runner_leads_to_another_attempt_that_knows_why(rig: Rig, act: str, reason: str) -> None:
    job = rig.run("moan:the_last_words", act)

    assert job.status == Status.QUEUED
    assert reason in (job.status_reason or "")
    assert "the_last_words" in rig.texts(job.id)
    assert rig.scratch() == []
    assert rig.supervisor.work()
    assert rig.store.get(job.id).attempt == 2


def test_attempts_end(rig: Rig) -> None:
    job = rig.run("exit:1", max_attempts=1)

    assert job.status == Status.FAILED
    assert job.error is not None
    assert job.error.code == "attempts_exhausted"


def test_garbage_on_stdout_is_no_event_and_no_harm(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    forged = json.dumps({"type": "job.cancelled", "message": "not_mine_to_say"}).replace(" ", "")
    job = rig.run("say:Downloading...", "say:{broken", f"say:{forged}", "succeed")

    assert job.status == Status.SUCCEEDED
    assert "not_mine_to_say" not in rig.texts(job.id)
    assert "Downloading..." in caplog.text


def test_an_ending_that_makes_no_sense_fails_the_job(rig: Rig) -> None:
    job = rig.run("bad-ending", max_attempts=1)

    assert job.status == Status.FAILED
    assert job.error is not None
    assert job.error.code == "internal"
    assert rig.stored(job.id) == []


def test_files_outside_of_its_folder_are_not_published(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("x")
    job = rig.run(f"outside:{tmp_path}/secret")

    assert job.status == Status.FAILED
    assert job.error is not None
    assert (job.error.code, job.error.stage) == ("export_failed", "publishing")
    assert rig.stored(job.id) == []


def test_no_job_runs_longer_than_the_service_allows(rig: Rig) -> None:
    rig.settings.max_runtime_seconds = 1
    job = rig.run("linger")

    assert job.error is not None
    assert (job.error.code, job.error.message[-3:]) == ("timeout", "= 1")


def test_a_job_that_runs_too_long_is_killed_with_all_it_started(rig: Rig, tmp_path: Path) -> None:
    job = rig.run("child:" + str(tmp_path / "pid"), "linger", max_runtime_seconds=1)

    assert job.status == Status.FAILED
    assert job.error is not None
    assert job.error.code == "timeout"
    eventually(lambda: gone(int((tmp_path / "pid").read_text())))


def test_a_runner_that_does_not_leave_after_its_last_word_is_sent_away(rig: Rig) -> None:
    rig.settings.kill_grace_seconds = 0.2
    assert rig.run("succeed", "linger").status == Status.SUCCEEDED


def test_cancel_stops_a_deaf_runner(rig: Rig, tmp_path: Path) -> None:
    rig.settings.kill_grace_seconds = 0.2
    job_id = rig.submit("deaf", f"touch:{tmp_path}/here", "linger")
    thread = rig.start()
    eventually((tmp_path / "here").exists)
    rig.store.cancel(job_id)
    thread.join(20)

    assert rig.store.get(job_id).status == Status.CANCELLED
    assert rig.scratch() == []


def test_a_runner_that_succeeds_while_it_is_cancelled_leaves_no_files(rig: Rig, tmp_path: Path) -> None:
    job_id = rig.submit(f"touch:{tmp_path}/here", f"wait:{tmp_path}/go", "succeed")
    thread = rig.start()
    eventually((tmp_path / "here").exists)
    (tmp_path / "go").touch()
    rig.store.cancel(job_id)
    thread.join(20)

    assert rig.store.get(job_id).status == Status.CANCELLED
    assert rig.store.artifact(job_id) is None
    assert rig.stored(job_id) == []


def test_a_worker_told_to_stop_hands_the_job_back(rig: Rig, tmp_path: Path) -> None:
    job_id = rig.submit("log:begun", f"touch:{tmp_path}/here", "linger")
    thread = rig.start()
    eventually((tmp_path / "here").exists)
    eventually(lambda: "begun" in rig.texts(job_id))
    rig.supervisor.stop()
    thread.join(20)

    job = rig.store.get(job_id)
    assert job.status == Status.QUEUED
    assert "handed the job back" in (job.status_reason or "")
    assert rig.supervisor.work() is False


def test_the_runner_sees_what_it_needs_and_no_secret(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERCUT_DATABASE_URL", "postgresql://user:secret@host/db")
    monkeypatch.setenv("LAYERCUT_API_KEYS", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:secret@proxy")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    rig.run(f"environment:{tmp_path}/environment", "succeed")

    seen = json.loads((tmp_path / "environment").read_text())
    assert "secret" not in json.dumps(seen)
    expected = {
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "GPU-1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "1000",
        "PATH": os.environ["PATH"],
    }
    assert expected.items() <= seen.items()
    assert 1 <= int(seen["OMP_NUM_THREADS"]) <= (os.cpu_count() or 1)
