"""Ceilings: shown by GET /v1/limits, and a request that passes one is told which."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api_schemas.errors import ERRORS
from service.settings import GatewaySettings
from service.state import GatewayState
from tests.support.sparse_files import write_huge_weights
from tests.support.tiny_checkpoints import WIDTH

LOW = {
    "max_rows": 100,
    "max_epochs": 5.0,
    "max_seeds": 2,
    "max_latency_tokens": 1024,
    "max_runtime_seconds": 3600,
    "max_queue_seconds": 7200,
    "max_layers": 8,
    "max_model_bytes": 100_000,
    "max_queued_jobs": 2,
}


@pytest.fixture
def settings(settings: GatewaySettings) -> GatewaySettings:
    return settings.model_copy(update=LOW)


def test_the_limits_are_shown_as_they_are_set(client: TestClient) -> None:
    shown = {row["setting"]: row for row in client.get("/v1/limits").json()["data"]}
    for name, value in LOW.items():
        assert shown[f"LAYERCUT_{name.upper()}"]["value"] == value
    assert {row["code"] for row in shown.values()} <= set(ERRORS)
    assert shown["LAYERCUT_MAX_BODY_BYTES"]["value"] == 1024 * 1024


@pytest.mark.parametrize(
    ("field", "asked", "setting"),
    [
        ("/task/max_train_rows", {"task": {"name": "sst2", "max_train_rows": 101}}, "MAX_ROWS"),
        ("/recovery/epochs", {"recovery": {"epochs": 5.5}}, "MAX_EPOCHS"),
        ("/recovery/baseline_epochs", {"recovery": {"baseline_epochs": 6}}, "MAX_EPOCHS"),
        ("/recovery/effort", {"recovery": {"effort": "high"}}, "MAX_EPOCHS"),
        ("/recovery/text/rows", {"recovery": {"text": {"dataset": "x.txt", "rows": 101}}}, "MAX_ROWS"),
        ("/evaluation/seeds", {"evaluation": {"seeds": [1, 2, 3]}}, "MAX_SEEDS"),
        ("/evaluation/latency", {"evaluation": {"latency": {"batch_sizes": [1, 9]}}}, "MAX_LATENCY_TOKENS"),
        (
            "/prune/objective",
            {"prune": {"strategy": "auto", "objective": {"max_latency_ms": 9, "batch_size": 9}}},
            "MAX_LATENCY_TOKENS",
        ),
        ("/limits/max_runtime_seconds", {"limits": {"max_runtime_seconds": 3601}}, "MAX_RUNTIME_SECONDS"),
        ("/limits/max_queue_seconds", {"limits": {"max_queue_seconds": 7201}}, "MAX_QUEUE_SECONDS"),
    ],
)
def test_more_than_there_is_is_refused(client: TestClient, field: str, asked: dict[str, Any], setting: str) -> None:
    fitting = {"evaluation": {"latency": {"batch_sizes": [1]}}}
    answer = client.post("/v1/jobs", json={"model": "a/b", "task": "sst2", **fitting, **asked})
    assert (answer.status_code, answer.json()["code"]) == (422, "ceiling_passed")
    assert answer.json()["errors"][0]["pointer"] == field
    assert f"LAYERCUT_{setting}" in answer.json()["detail"]


def test_a_plan_is_under_the_same_ceilings(client: TestClient) -> None:
    answer = client.post("/v1/plans", json={"model": "a/b", "task": "sst2", "recovery": {"epochs": 6}})
    assert answer.json()["code"] == "ceiling_passed"


@pytest.mark.parametrize(
    ("recovery", "pointer"),
    [
        ({}, "/recovery/epochs"),
        ({"method": "finetune"}, "/recovery/epochs"),
        ({"effort": "quick"}, "/recovery/baseline_epochs"),
        ({"effort": "high"}, "/recovery/effort"),
        ({"effort": "high", "epochs": 2}, None),
        ({"effort": "quick", "baseline_epochs": 2}, None),
        ({"method": "none"}, None),
    ],
)
def test_epochs_that_nobody_asked_for_are_bounded_too(
    client: TestClient, state: GatewayState, recovery: dict[str, Any], pointer: str | None
) -> None:
    state.settings.max_epochs = 2
    body = {"model": "a/b", "task": "sst2", "recovery": recovery}
    job = client.post("/v1/jobs", json={**body, "evaluation": {"latency": {"batch_sizes": []}}})
    for answer in (job, client.post("/v1/plans", json=body)):
        if pointer is None:
            assert answer.json().get("code") in (None, "hub_unavailable")
        else:
            assert (answer.json()["code"], answer.json()["errors"][0]["pointer"]) == ("ceiling_passed", pointer)


def test_a_deep_model_is_refused(client: TestClient, make_model: Callable[..., Path]) -> None:
    body = {"model": str(make_model("deep", layers=9)), "task": "none", "prune": {"drop": 1}}
    fitting = {"evaluation": {"latency": {"batch_sizes": []}}}
    for path, sent in (("/v1/jobs", {**body, **fitting}), ("/v1/plans", body)):
        answer = client.post(path, json=sent)
        assert (answer.status_code, answer.json()["code"]) == (422, "ceiling_passed")
        assert "9 layers" in answer.json()["detail"]


def test_a_heavy_model_is_refused(client: TestClient, make_model: Callable[..., Path]) -> None:
    folder = make_model("heavy", layers=3, hidden_size=WIDTH, vocab_size=11)
    size = write_huge_weights(folder / "model.safetensors", more=100_000)
    body = {"model": str(folder), "task": "none", "prune": {"drop": 1}}
    fitting = {"evaluation": {"latency": {"batch_sizes": []}}}
    for path, sent in (("/v1/jobs", {**body, **fitting}), ("/v1/plans", body)):
        answer = client.post(path, json=sent)
        assert (answer.status_code, answer.json()["code"]) == (422, "ceiling_passed")
        assert answer.json()["errors"][0]["pointer"] == "/model"
        assert f"{size} bytes, more than the 100000 that LAYERCUT_MAX_MODEL_BYTES" in answer.json()["detail"]


def test_limits_that_a_request_leaves_out_are_brought_under(client: TestClient, state: GatewayState) -> None:
    fitting = {"evaluation": {"latency": {"batch_sizes": [1]}}}
    answer = client.post("/v1/jobs", json={"model": "a/b", "task": "sst2", **fitting})
    assert answer.status_code == 202
    with state.engine.begin() as connection:
        (waits,) = connection.exec_driver_sql("SELECT max_queue_seconds FROM jobs").one()
    assert waits == 7200


def test_a_full_queue_says_so_and_when_to_come_again(client: TestClient, state: GatewayState) -> None:
    body = {"model": "a/b", "task": "sst2", "evaluation": {"latency": {"batch_sizes": [1]}}}
    assert [client.post("/v1/jobs", json=body).status_code for _ in range(2)] == [202, 202]
    full = client.post("/v1/jobs", json=body)
    assert (full.status_code, full.json()["code"]) == (429, "queue_full")
    assert int(full.headers["Retry-After"]) > 0
    assert client.post("/v1/jobs?validate_only=true", json=body).status_code == 200
    state.store.claim("worker")
    assert client.post("/v1/jobs", json=body).status_code == 202


def test_by_default_a_cell_of_speed_is_bounded_by_its_tokens() -> None:
    most = GatewaySettings().max_latency_tokens
    assert most >= 1024 * 512
    assert most >= 32 * 8192
    assert most < 1024 * 8192
