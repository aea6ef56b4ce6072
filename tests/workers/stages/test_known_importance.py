"""Scores that a worker took, read by the gateway: both work out the same fingerprint, and the plan is the job's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from fastapi.testclient import TestClient

from api_schemas.plans import make_plan
from api_schemas.requests import JobRequest
from service.app import create_app
from service.settings import GatewaySettings
from service.state import GatewayState
from sources.importance import KIND
from tests.support.tiny_models import SENTENCES, tiny_model
from workers.cache.folder import FolderCache
from workers.settings import WorkerSettings
from workers.stages import fingerprints
from workers.stages.cache_codecs import save_layer_importance
from workers.stages.job_cache import JobCache
from workers.stages.layer_importance import Measuring, take_importance
from workers.stages.progress import ProgressReporter
from workers.stages.resolve import resolve_job
from workers.stages.resolved_job import ResolvedJob


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    structlog.configure(
        logger_factory=structlog.ReturnLoggerFactory(), processors=[structlog.processors.JSONRenderer()]
    )
    settings = GatewaySettings(
        data_dir=tmp_path / "data", database_url="", broker_url="", artifacts_url="", glue_dir=None,
        model_roots=[tmp_path], data_roots=[tmp_path], reap_seconds=3600,
    )  # fmt: skip
    with TestClient(create_app(settings), base_url="http://localhost") as client:
        yield client


@pytest.fixture
def body(tmp_path: Path) -> dict[str, Any]:
    tiny_model("bert", tmp_path / "model", head="base")
    rows = [f"{SENTENCES[row % 8].replace(',', '')} {row},{row % 2}" for row in range(40)]
    (tmp_path / "table.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    (tmp_path / "plain.txt").write_text("\n".join(SENTENCES) + "\n")
    task = {"dataset": str(tmp_path / "table.csv"), "text_columns": ["text"], "label_column": "label"}
    return {"model": str(tmp_path / "model"), "task": task, "prune": {"strategy": "block_influence", "drop": 2}}


def take(
    client: TestClient, folder: Path, body: dict[str, Any], taken_from: str = "activations"
) -> tuple[str, ResolvedJob, dict[str, Any]]:
    """A job is asked for, and its worker measures the layers for the cache; no gateway has a hand in it."""
    state: GatewayState = client.app.state.gateway  # type: ignore[attr-defined]
    job_id = client.post("/v1/jobs", json=body).json()["id"]
    lease = state.store.claim("worker-1").lease  # type: ignore[union-attr]
    settings = WorkerSettings(data_dir=folder, model_roots=[folder], data_roots=[folder], device="cpu", glue_dir=None)
    progress = ProgressReporter(lambda _: None)
    cache = JobCache(FolderCache(folder / "host", 1 << 30), progress)
    job = resolve_job(JobRequest.model_validate(body), None, settings, cache, progress)
    importance = take_importance(taken_from, Measuring(job, job.request.prune, job.load(42).model, job.facts))
    fingerprint = named(job)
    made = state.cache.take(lease, KIND, fingerprint)
    (folder / "importance").mkdir(exist_ok=True)
    save_layer_importance(importance, folder / "importance")
    state.artifacts.publish(made.prefix, folder / "importance")  # type: ignore[union-attr]
    assert state.cache.made(lease, fingerprint, seconds=1.0, size=10)
    return job_id, job, importance


def named(job: ResolvedJob) -> str:
    """What the importance that the job asks for is kept under."""
    found = fingerprints.importance(job, job.request.prune)
    assert found is not None
    return found


KINDS: dict[str, dict[str, Any]] = {
    "distilled": {},
    "finetuned": {"recovery": {"method": "finetune", "learning_rate": 0.001}},
    "sampled": {"recovery": {"max_length": 20, "precision": "bf16"}, "seed": 7},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_is_answered_from_what_a_job_has_measured(
    client: TestClient, body: dict[str, Any], tmp_path: Path, kind: str
) -> None:
    body |= KINDS[kind]
    before = client.post("/v1/plans", json=body).json()
    assert before["dropped"] is before["importance"] is before["measured_by"] is None
    assert any("POST /v1/jobs" in warning for warning in before["warnings"])

    job_id, job, importance = take(client, tmp_path, body)
    for strategy in ("block_influence", "contribution", "angular"):
        asked = {**body, "prune": {"strategy": strategy, "drop": 3}}
        plan = client.post("/v1/plans", json=asked).json()
        measure = plan["measure"]
        spec = JobRequest.model_validate(asked).prune
        expected = make_plan(spec, job.facts, seed=body.get("seed", 42), importance=importance[measure])
        assert plan["dropped"] == expected.dropped
        assert plan["importance"] == expected.importance
        assert plan["measured_by"] == job_id
        assert plan["warnings"] == expected.warnings
        assert plan["parameters_after"] < plan["parameters_before"]


def test_the_importance_of_another_question_is_not_taken_for_an_answer(
    client: TestClient, body: dict[str, Any], tmp_path: Path
) -> None:
    take(client, tmp_path, body)

    def answered(**more: Any) -> bool:
        answer = client.post("/v1/plans", json={**body, **more})
        assert answer.status_code == 200
        return answer.json()["dropped"] is not None

    assert answered()
    text = {"dataset": str(tmp_path / "plain.txt")}
    for more in (
        {"seed": 7},
        {"recovery": {"baseline_epochs": 2}},
        {"recovery": {"method": "finetune"}},
        {"recovery": {"max_length": 20}},
        {"task": {**body["task"], "max_train_rows": 20}},
        {"prune": {"strategy": "block_influence", "calibration": {"rows": 20}}},
        {"prune": {"strategy": "block_influence", "calibration": text}},
        {"prune": {"strategy": "taylor"}},
        {"prune": {"strategy": "parameter_variance"}},
    ):
        assert not answered(**more), more
    assert answered(recovery={"temperature": 3.0, "epochs": 2, "baseline_epochs": 3}), "only distilling reads it"
    path = tmp_path / "table.csv"
    path.write_text(path.read_text().replace("dull", "dul"))
    assert not answered()


def test_what_text_has_told_answers_without_a_task_and_is_forgotten_with_their_files(
    client: TestClient, body: dict[str, Any], tmp_path: Path
) -> None:
    calibration = {"dataset": str(tmp_path / "plain.txt"), "rows": 6}
    body |= {"task": "none", "prune": {"strategy": "angular", "drop": 2, "calibration": calibration}}
    job_id, job, _ = take(client, tmp_path, body)
    del body["task"]
    assert client.post("/v1/plans", json=body).json()["measured_by"] == job_id
    (tmp_path / "plain.txt").rename(tmp_path / "moved.txt")
    body["prune"]["calibration"]["dataset"] = str(tmp_path / "moved.txt")
    assert client.post("/v1/plans", json=body).json()["measured_by"] == job_id, "a file counts by what is in it"

    state: GatewayState = client.app.state.gateway  # type: ignore[attr-defined]
    found = state.cache.find(named(job))
    assert found is not None
    state.artifacts.delete(found.prefix)
    assert client.post("/v1/plans", json=body).json()["dropped"] is None
    assert state.cache.find(named(job)) is None


def test_an_order_of_removal_answers_for_every_smaller_size_and_for_these_protected_layers(
    client: TestClient, body: dict[str, Any], tmp_path: Path
) -> None:
    body["prune"] = {"strategy": "greedy", "drop": 3}
    job_id, _, importance = take(client, tmp_path, body, "removals")
    order = sorted(range(6), key=lambda layer: importance["removal_step"][layer])
    for drop in (1, 2, 3):
        plan = client.post("/v1/plans", json={**body, "prune": {"strategy": "greedy", "drop": drop}}).json()
        assert (plan["dropped"], plan["measured_by"]) == (sorted(order[:drop]), job_id)
    for other in ({"drop": 4}, {"drop": 2, "protect_layers": [0, 1]}):
        plan = client.post("/v1/plans", json={**body, "prune": {"strategy": "greedy", **other}}).json()
        assert plan["dropped"] is None


def test_a_plan_refuses_data_as_a_job_does(client: TestClient, body: dict[str, Any], tmp_path: Path) -> None:
    body["prune"]["calibration"] = {"dataset": str(tmp_path / "away.txt")}
    answer = client.post("/v1/plans", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "dataset_not_found")
    assert answer.json()["errors"][0]["pointer"] == "/prune/calibration/dataset"
    assert client.post("/v1/jobs", json=body).json()["code"] == "dataset_not_found"
    (tmp_path / "away.txt").write_text("\n \n")
    assert client.post("/v1/jobs", json=body).json()["code"] == "dataset_invalid"
