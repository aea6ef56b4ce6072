"""Runs of W&B's own client: without its server, they are files that `wandb sync` takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from api_schemas.jobs import Status
from tests.support import wandb_file
from tests.support.gateway_process import free_port
from tests.support.processes import eventually
from tests.support.reports import report
from tests.support.tracked_rig import TrackedRig
from workers.tracking import wandb_backend
from workers.tracking.tracker import Tracker
from workers.tracking.wandb_backend import WandbBackend

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")]

KEY = "5ec4e7" + 34 * "0"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, part in wandb_backend.FOLDERS.items():
        monkeypatch.setenv(name, str(tmp_path / "wandb" / part))
    monkeypatch.setenv("WANDB_MODE", "offline")
    yield tmp_path / "wandb"
    import wandb  # noqa: PLC0415 - it reads its environment once, when it is first used

    wandb.teardown()


@pytest.fixture
def rig(rigs: Callable[..., TrackedRig], folder: Path) -> TrackedRig:
    return rigs(Tracker(WandbBackend("layercut-{tenant}", "", folder), later_seconds=5))


def records_of(folder: Path, job_id: str, attempt: int = 1) -> list[Any]:
    """Once wandb's own process has written the last of them."""
    (file,) = folder.glob(f"{job_id}-{attempt}/wandb/offline-run-*/run-{job_id}.wandb")
    return eventually(lambda: found if exits(found := list(wandb_file.read_run(file))) else None)


def exits(records: list[Any]) -> list[int]:
    return [one.exit.exit_code for one in records if one.WhichOneof("record_type") == "exit"]


def test_a_job_is_a_run_with_config_curves_summary_and_files(rig: TrackedRig, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(report().model_dump_json())
    job = rig.run("stage:recovering", "loss:1=0.9", "loss:2=0.8", f"report:{tmp_path}/report.json", "succeed")
    assert job.status == Status.SUCCEEDED
    assert rig.told()
    records = records_of(folder, job.id)
    (run,) = (one.run for one in records if one.WhichOneof("record_type") == "run")
    assert (run.run_id, run.project, run.run_group) == (job.id, "layercut-default", "default")
    assert run.notes == f"https://layercut.example.org/v1/jobs/{job.id}"
    config = wandb_file.config(records)
    assert (config["model.id"], config["tags"]["layercut.verdict"]) == ("a/b", "smaller")
    assert wandb_file.history(records)[-1] == {"recovering/loss": 0.8, "recovering/epoch": 0.5, "recovering/step": 2}
    summary = wandb_file.summary(records)
    assert (summary["after/score"], summary["retention"], summary["verdict"]) == (91.6, 0.991, "smaller")
    (artifact,) = (one.artifact for one in records if one.WhichOneof("record_type") == "artifact")
    assert {file.path for file in artifact.manifest.contents} == {"report.json", "README.md"}
    assert exits(records) == [0]
    kinds = {one.WhichOneof("record_type") for one in records}
    assert not kinds & {"stats", "environment", "output", "output_raw"}, "nothing of the worker goes along"


def test_each_attempt_is_of_the_same_run(rig: TrackedRig, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "once").touch()
    job = rig.run(f"exit-once:{tmp_path}/once", "fail:training_diverged")
    assert rig.supervisor.work()
    assert rig.told()
    for attempt, status in ((1, "queued"), (2, "failed")):
        records = records_of(folder, job.id, attempt)
        assert exits(records) == [1]
        assert wandb_file.config(records)["tags"]["layercut.status"] == status


def test_a_server_that_does_not_answer_is_warned_of_and_no_secret_told(
    rig: TrackedRig, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr(wandb_backend, "INIT_SECONDS", 2.0)
    job_id = rig.submit(f"wait:{tmp_path}/go", "warned", "succeed")
    thread = rig.start()
    eventually(lambda: "tracking by Weights & Biases: it does not answer" in rig.texts(job_id), seconds=60)
    (tmp_path / "go").touch()
    thread.join(30)
    assert rig.store.get(job_id).status == Status.SUCCEEDED
    assert "warned:tracking by Weights & Biases: it does not answer" in rig.texts(job_id)
    assert rig.told()
    assert KEY not in rig.texts(job_id) + caplog.text
