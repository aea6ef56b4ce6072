"""A study through a gateway and two workers, each a process: baselines are shared, and a kill loses nothing."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import GatewaySettings
from tests.support.processes import eventually
from tests.support.tiny_models import tiny_model
from tests.support.whole_jobs import own
from tests.support.worker_process import Site, site

SECONDS = 400


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path / "data", lease_seconds=10, model_roots=tmp_path, data_roots=tmp_path, device="cpu") as made:
        yield made


@pytest.fixture
def client(tmp_path: Path, here: Site) -> Iterator[TestClient]:
    settings = GatewaySettings(
        data_dir=here.folder, database_url="", broker_url=here.broker_url, artifacts_url="", glue_dir=None,
        model_roots=[tmp_path], data_roots=[tmp_path], allowed_hosts=["testserver"], reap_seconds=1, retry_seconds=0,
        study_seconds=0.2, study_window=4,
    )  # fmt: skip
    with TestClient(create_app(settings)) as client:
        yield client


@pytest.fixture
def body(tmp_path: Path) -> dict[str, Any]:
    """Six cells with two baselines."""
    table = tmp_path / "reviews.csv"
    lines = [f"{'a joy full of wit' if row % 2 else 'a dull and lifeless story'} {row},{row % 2}" for row in range(120)]
    table.write_text("\n".join(["text,mood", *lines]) + "\n", encoding="utf-8")
    rates = {"learning_rate": 0.001, "baseline_learning_rate": 0.001, "batch_size": 8}
    return {
        "models": [str(tiny_model("bert", tmp_path / "bert", layers=4))],
        "tasks": [own(table)],
        "strategies": ["top", "bottom", "symmetric"],
        "drops": [1],
        "recoveries": [{**rates, "epochs": 1, "baseline_epochs": 1}],
        "seeds": [1, 2],
        "job": {"evaluation": {"latency": {"batch_sizes": [1], "sequence_lengths": [8]}}},
    }


def ended(client: TestClient, study_id: str) -> dict[str, Any]:
    def finished() -> dict[str, Any] | None:
        study: dict[str, Any] = client.get(f"/v1/studies/{study_id}").json()
        return study if study["status"] == "finished" else None

    return eventually(finished, SECONDS)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_workers_train_each_baseline_once_and_a_kill_loses_no_cell(
    client: TestClient, here: Site, body: dict[str, Any]
) -> None:
    workers = [here.start_worker(real=True, connected=False) for _ in range(2)]
    study = client.post("/v1/studies", json=body).json()["id"]
    eventually(lambda: client.get(f"/v1/studies/{study}").json()["progress"]["by_state"].get("succeeded"), SECONDS)
    runner = workers[0].runner
    if runner is not None:
        os.kill(runner.pid, signal.SIGKILL)
    shown = ended(client, study)
    assert shown["progress"]["by_state"] == {"succeeded": 6}, shown["table"]
    jobs = client.get("/v1/jobs", params={"limit": 100}).json()["data"]
    assert len(jobs) == 6
    reports = {job["id"]: client.get(f"/v1/jobs/{job['id']}/report").json() for job in jobs}
    trained: Counter[int] = Counter()
    for report in reports.values():
        trained[report["seed"]] += "baseline" not in [reused["kind"] for reused in report["reused"]]
    assert trained == {1: 1, 2: 1}
    for row in shown["table"]:
        scores = [reports[cell["job_id"]]["after"]["score"] for cell in row["cells"]]
        assert row["score_after"]["mean"] == pytest.approx(sum(scores) / 2)
        assert row["score_after"]["count"] == 2

    # Asked for once more, it is known; with early stopping, the search decides what runs.
    again = client.post("/v1/studies", json=body).json()
    assert again["progress"]["known"] == 6
    early = {**body, "seeds": [3], "strategies": ["top", "bottom", "symmetric", "alternate_odd"], "stop_early": True}
    stopped = ended(client, client.post("/v1/studies", json=early).json()["id"])
    states = {row["strategy"]: row["cells"][0]["state"] for row in stopped["table"]}
    assert states["auto"] == "succeeded", stopped["table"]
    assert set(states.values()) <= {"succeeded", "stopped"}
    assert all(cell["reason"] for row in stopped["table"] for cell in row["cells"] if cell["state"] == "stopped")
