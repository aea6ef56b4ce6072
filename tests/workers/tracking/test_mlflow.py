"""Runs of a real MLflow server: what is there in the end, whatever happens to it or to the job on the way."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from api_schemas.jobs import Status
from tests.support.mlflow_server import MlflowServer
from tests.support.processes import eventually
from tests.support.reports import report
from tests.support.tracked_rig import TrackedRig
from workers.tracking.mlflow_backend import MlflowBackend
from workers.tracking.tracker import Tracker

pytestmark = [
    pytest.mark.slow,
    # What its client is made of warns of itself.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]

SECRET = "hunter2"


def tracker_of(url: str, later_seconds: float = 600.0) -> Tracker:
    return Tracker(MlflowBackend(url, "layercut/{tenant}"), later_seconds=later_seconds)


@pytest.fixture
def rig(rigs: Callable[..., TrackedRig], mlflow: MlflowServer) -> TrackedRig:
    return rigs(tracker_of(mlflow.url))


@pytest.fixture
def runs(mlflow: MlflowServer) -> Callable[[str], list[Any]]:
    """Those of a job, as another client sees them."""
    from mlflow.tracking import MlflowClient  # noqa: PLC0415 - takes seconds, and few tests want it

    client = MlflowClient(mlflow.url)

    def find(job_id: str) -> list[Any]:
        experiment = client.get_experiment_by_name("layercut/default")
        ids = [] if experiment is None else [experiment.experiment_id]
        return list(client.search_runs(ids, f"tags.`layercut.job_id` = '{job_id}'")) if ids else []

    find.client = client  # type: ignore[attr-defined]
    return find


@pytest.fixture
def reported(tmp_path: Path) -> str:
    """The act that leaves a report."""
    (tmp_path / "report.json").write_text(report().model_dump_json())
    return f"report:{tmp_path}/report.json"


def test_a_job_is_a_run_with_params_curves_numbers_and_files(rig: TrackedRig, runs: Any, reported: str) -> None:
    losses = [f"loss:{step}={1 / step}" for step in (1, 2, 3)]
    job = rig.run("stage:recovering", *losses, "metric:accuracy=91.5", reported, "succeed")
    assert job.status == Status.SUCCEEDED
    assert rig.told()
    (run,) = runs(job.id)
    assert run.info.status == "FINISHED"
    assert (run.data.params["model.id"], run.data.params["task.name"]) == ("a/b", "none")
    assert run.data.tags["layercut.tenant"] == "default"
    assert run.data.tags["layercut.url"] == f"https://layercut.example.org/v1/jobs/{job.id}"
    assert run.data.tags["layercut.verdict"] == "smaller"
    assert run.data.metrics["after/score"] == 91.6
    assert run.data.metrics["before/latency_p50_ms/batch_32_tokens_128"] == 100.0
    curve = runs.client.get_metric_history(run.info.run_id, "recovering/loss")
    assert curve[-1].step == 3, "the last progress is never left out"
    assert {point.step: point.value for point in curve}.items() <= {1: 1.0, 2: 0.5, 3: 1 / 3}.items()
    files = {file.path for file in runs.client.list_artifacts(run.info.run_id)}
    assert files == {"report.json", "README.md"}


@pytest.mark.parametrize(("act", "status"), [("fail:training_diverged", "FAILED"), ("exit:3", "SCHEDULED")])
def test_a_run_stands_as_its_job_does(rig: TrackedRig, runs: Any, act: str, status: str) -> None:
    job = rig.run("stage:recovering", act)
    assert rig.told()
    (run,) = runs(job.id)
    assert run.info.status == status


def test_a_job_that_is_cancelled_was_killed(rig: TrackedRig, runs: Any, tmp_path: Path) -> None:
    job_id = rig.submit(f"touch:{tmp_path}/here", "linger")
    thread = rig.start()
    eventually((tmp_path / "here").exists)
    rig.store.cancel(job_id)
    thread.join(30)
    assert rig.told()
    (run,) = runs(job_id)
    assert run.info.status == "KILLED"


def test_the_next_attempt_goes_on_in_the_same_run(
    rigs: Callable[..., TrackedRig], rig: TrackedRig, mlflow: MlflowServer, runs: Any, tmp_path: Path
) -> None:
    """Of another worker, that knows nothing but the job."""
    (tmp_path / "once").touch()
    job = rig.run("stage:recovering", "loss:1=0.9", f"exit-once:{tmp_path}/once", "loss:2=0.8", "succeed")
    assert job.status == Status.QUEUED
    assert rig.told()
    other = rigs(tracker_of(mlflow.url))
    assert other.supervisor.work()
    assert other.told()
    (run,) = runs(job.id)
    assert (run.info.status, run.data.tags["layercut.attempt"]) == ("FINISHED", "2")
    steps = [point.step for point in runs.client.get_metric_history(run.info.run_id, "recovering/loss")]
    assert (steps[0], steps[-1]) == (1, 2)


@pytest.mark.timeout(600)
def test_a_server_that_is_killed_in_the_middle_costs_nothing_once_it_is_back(
    rig: TrackedRig, mlflow: MlflowServer, runs: Any, tmp_path: Path
) -> None:
    job_id = rig.submit("stage:recovering", "loss:1=0.9", f"wait:{tmp_path}/go", "loss:2=0.8", "warned", "succeed")
    thread = rig.start()
    eventually(lambda: runs(job_id) and "recovering/loss" in runs(job_id)[0].data.metrics)
    mlflow.kill()
    (tmp_path / "go").touch()
    thread.join(60)
    assert rig.store.get(job_id).status == Status.SUCCEEDED, "nobody waits for it"
    mlflow.start()
    assert rig.told(600)
    (run,) = runs(job_id)
    assert run.info.status == "FINISHED"
    assert runs.client.get_metric_history(run.info.run_id, "recovering/loss")[-1].step == 2


@pytest.fixture(params=["it takes connections, and never answers", "there is none"])
def url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if request.param != "there is none":
            server.listen()
        yield f"http://worker:{SECRET}@127.0.0.1:{server.getsockname()[1]}"


def test_a_server_that_does_not_answer_is_warned_of_and_no_secret_told(
    rigs: Callable[..., TrackedRig], url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig = rigs(tracker_of(url, later_seconds=0))
    job_id = rig.submit(f"wait:{tmp_path}/go", "warned", "succeed")
    thread = rig.start()
    eventually(lambda: "tracking by MLflow: it does not answer" in rig.texts(job_id), seconds=60)
    (tmp_path / "go").touch()
    thread.join(30)
    assert rig.store.get(job_id).status == Status.SUCCEEDED
    assert "warned:tracking by MLflow: it does not answer" in rig.texts(job_id)
    assert rig.told()
    assert SECRET not in rig.texts(job_id) + caplog.text
