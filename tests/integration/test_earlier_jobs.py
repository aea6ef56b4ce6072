"""Jobs on what earlier jobs delivered, through a gateway and a worker in processes of its own, killed in the middle."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
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

SECONDS = 240


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path / "data", lease_seconds=10, model_roots=tmp_path, data_roots=tmp_path, device="cpu") as made:
        yield made


@pytest.fixture
def client(tmp_path: Path, here: Site) -> Iterator[TestClient]:
    settings = GatewaySettings(
        data_dir=here.folder, database_url="", broker_url=here.broker_url, artifacts_url="", glue_dir=None,
        model_roots=[tmp_path], data_roots=[tmp_path], allowed_hosts=["testserver"], reap_seconds=1, retry_seconds=0,
    )  # fmt: skip
    with TestClient(create_app(settings)) as client:
        yield client


@pytest.fixture
def run(client: TestClient, here: Site) -> Callable[..., dict[str, Any]]:
    """Post a job, ``meanwhile`` do something, and wait until it has succeeded."""

    def done(meanwhile: Callable[[str], None] = lambda _: None, **body: Any) -> dict[str, Any]:
        quick = {"latency": {"batch_sizes": [1], "sequence_lengths": [8]}}
        posted = client.post("/v1/jobs", json={"evaluation": quick, **body})
        assert posted.status_code == 202, posted.text
        job_id = posted.json()["id"]
        meanwhile(job_id)
        eventually(lambda: here.store.get(job_id).status.terminal, SECONDS)
        job: dict[str, Any] = client.get(f"/v1/jobs/{job_id}").json()
        assert job["status"] == "succeeded", job["error"]
        return job

    return done


def table(tmp_path: Path, rows: int) -> Path:
    path = tmp_path / "reviews.csv"
    lines = [
        f"{'a joy full of wit' if row % 2 else 'a dull and lifeless story'} {row},{row % 2}" for row in range(rows)
    ]
    path.write_text("\n".join(["text,mood", *lines]) + "\n", encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_chain_of_jobs_goes_on_from_one_another_and_outlives_a_kill(
    client: TestClient, here: Site, run: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    worker = here.start_worker(real=True, checkpoint_seconds=0.1, connected=False)
    asked = {"model": str(tiny_model("bert", tmp_path / "bert", layers=4)), "task": own(table(tmp_path, 120))}
    rates = {"learning_rate": 0.001, "baseline_learning_rate": 0.001, "batch_size": 8, "baseline_epochs": 1}
    first = run(**asked, prune={"drop": 1}, recovery={**rates, "epochs": 1})
    assert first["result"]["layers_kept"] == [0, 1, 2]

    def kill(job_id: str) -> None:
        def learns() -> bool:
            job = here.store.get(job_id)
            return job.stage == "recovering" and bool(job.progress.step)

        eventually(learns, SECONDS)
        runner = worker.runner
        assert runner is not None
        os.kill(runner.pid, signal.SIGKILL)

    again = {**rates, "from": f"job:{first['id']}", "epochs": 20}
    second = run(kill, **asked, prune="none", recovery=again)
    assert second["attempt"] == 2
    assert (second["result"]["layers_kept"], second["result"]["layers_dropped"]) == ([0, 1, 2], [3])
    report = client.get(f"/v1/jobs/{second['id']}/report").json()
    assert (report["start"]["job"], report["verification"]["passed"]) == (first["id"], True)
    assert "baseline" in [reused["kind"] for reused in report["reused"]]

    further = {**rates, "from": f"job:{second['id']}", "epochs": 1}
    third = run(**asked, prune={"strategy": "explicit", "drop_layers": [1]}, recovery=further)
    assert third["result"]["layers_kept"] == [0, 2]

    alone = run(model=f"job:{third['id']}", task=asked["task"], prune="none")
    assert alone["result"]["score_after"] == third["result"]["score_after"]
    names = [file["name"] for file in client.get(f"/v1/jobs/{alone['id']}/files").json()["data"]]
    assert sorted(names) == ["README.md", "SHA256SUMS", "report.json"]
    assert client.get(f"/v1/jobs/{alone['id']}/download").status_code == 200
    assert client.get(f"/jobs/{alone['id']}/resolve/main/config.json").status_code == 404
