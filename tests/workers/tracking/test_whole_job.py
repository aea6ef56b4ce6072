"""`layercut serve` with its settings alone: a real model is a run of a real MLflow, and a job does without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from demo.samples import copy_model
from tests.support.mlflow_server import MlflowServer
from tests.support.processes import eventually
from tests.support.serve_process import Served, served
from tests.support.whole_jobs import KIND, UNKIND

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    folder = tmp_path / "roots"
    folder.mkdir()
    copy_model(folder / "minilm")
    rows = [f'"{(KIND, UNKIND)[row % 2][row % 3]} {row}",{("kind", "unkind")[row % 2]}' for row in range(60)]
    (folder / "reviews.csv").write_text("\n".join(["text,mood", *rows]) + "\n")
    return folder


def done(server: Served, roots: Path, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A job that was asked for and has ended, and its report."""
    task = {"dataset": str(roots / "reviews.csv"), "text_columns": "text", "label_column": "mood"}
    body = {
        "model": str(roots / "minilm"), "task": task, "prune": {"strategy": "top", "drop_ratio": "33%"},
        "recovery": {"epochs": 2, "max_length": 16}, "metadata": {"team": "search"}, "suffix": "reviews", **more,
        "evaluation": {"latency": {"batch_sizes": 1, "sequence_lengths": 16}},
    }  # fmt: skip
    job = server.client.post("/v1/jobs", json=body).json()
    eventually(lambda: server.client.get(job["urls"]["self"]).json()["finished_at"], seconds=180)
    job = server.client.get(job["urls"]["self"]).json()
    assert job["status"] == "succeeded", job["error"]
    return job, server.client.get(job["urls"]["report"]).json()


@pytest.mark.timeout(600)
def test_a_job_with_mlflow_and_one_without(tmp_path: Path, roots: Path, mlflow: MlflowServer) -> None:
    from mlflow.tracking import MlflowClient  # noqa: PLC0415 - takes seconds, and few tests want it

    client = MlflowClient(mlflow.url)
    named = {"model_roots": roots, "data_roots": roots, "mlflow_tracking_uri": mlflow.url}
    with served(tmp_path, **named, mlflow_experiment="whole/{tenant}", public_url="https://example.org") as server:
        job, report = done(server, roots)
        assert not [warning for warning in report["warnings"] if "MLflow" in warning]
        experiment = client.get_experiment_by_name("whole/default")
        assert experiment is not None

        def ended() -> Any:
            found = client.search_runs([experiment.experiment_id], f"tags.`layercut.job_id` = '{job['id']}'")
            return found[0] if found and found[0].info.status != "RUNNING" else None

        run = eventually(ended, seconds=60)
        assert (run.info.status, run.data.tags["metadata.team"]) == ("FINISHED", "search")
        assert run.data.tags["layercut.url"] == f"https://example.org/v1/jobs/{job['id']}"
        assert (run.data.params["prune.drop_ratio"], run.data.params["layers.dropped"]) == ("0.33", "[4, 5]")
        assert run.data.params["recovery.batch_size"] == str(job["resolved"]["recovery"]["batch_size"]), "told later"
        assert run.data.metrics["after/score"] == report["after"]["score"]
        assert run.data.metrics["before/parameters"] == report["before"]["parameters"]
        for curve in ("baseline/loss", "recovering/loss"):
            assert client.get_metric_history(run.info.run_id, curve)[-1].value > 0
        assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"report.json", "README.md"}

        mlflow.kill()
        try:
            _, report = done(server, roots, seed=7)
        finally:
            mlflow.start()
        (warning,) = (warning for warning in report["warnings"] if "MLflow" in warning)
        assert warning.startswith("tracking by MLflow: it does not answer")
        assert str(mlflow.url) not in warning
