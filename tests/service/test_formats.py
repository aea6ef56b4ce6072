"""Formats that are asked for: shown from the table, and refused at once where nobody writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api_schemas.formats import FORMATS
from api_schemas.workers import About, SandboxReport
from service.state import GatewayState
from tests.support.tiny_models import tiny_model

ABOUT = About(host="h", pid=1, version="0.1.0", device="cpu")


def preview(client: TestClient, body: dict[str, Any], *formats: str) -> Any:
    return client.post("/v1/jobs?validate_only=true", json={**body, "export": {"formats": list(formats)}})


def test_safetensors_are_always_there_and_each_format_once(client: TestClient, body: dict[str, Any]) -> None:
    answer = preview(client, body, "onnx-int8", "onnx", "onnx-int8")
    assert answer.json()["resolved"]["export"]["formats"] == ["safetensors", "onnx-int8", "onnx"]
    assert preview(client, body).json()["resolved"]["export"]["formats"] == ["safetensors"]


def test_an_unknown_format_is_answered_with_the_near_ones(client: TestClient, body: dict[str, Any]) -> None:
    answer = preview(client, body, "onnx-int4")
    assert answer.status_code == 422
    assert "unknown format 'onnx-int4'; did you mean onnx-int8" in answer.text


def test_a_family_that_nothing_writes_is_refused_with_those_that_are_written(
    client: TestClient, body: dict[str, Any], tmp_path: Path
) -> None:
    model = tiny_model("t5", tmp_path / "models" / "t5", head="seq2seq_lm", layers=2)
    answer = preview(client, {**body, "model": str(model), "prune": {"drop": 1}}, "onnx")
    assert answer.status_code == 422
    assert answer.json()["code"] == "unsupported_format"
    for family in FORMATS["onnx"].families:
        assert family in answer.text
    assert "Of t5: safetensors" in answer.json()["detail"]


def test_nothing_is_exported_of_an_evaluation(client: TestClient, body: dict[str, Any]) -> None:
    answer = preview(client, {**body, "prune": {"strategy": "none"}}, "onnx")
    assert answer.status_code == 422
    assert "no model is exported" in answer.text


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ([], 200),  # one may come
        ([None], 200),  # of an older layercut
        ([["safetensors"]], 409),
        ([["safetensors"], ["safetensors", "onnx"]], 200),
        ([["safetensors"], None], 200),
        ([["safetensors", "onnx-int8"]], 409),
    ],
)
def test_workers_that_are_there_must_write_it(
    told: list[list[str] | None], status: int, client: TestClient, body: dict[str, Any], state: GatewayState
) -> None:
    for number, formats in enumerate(told):
        about = ABOUT.model_copy(update={"formats": formats})
        state.workers.announce(f"w{number}", SandboxReport(complete=True), about)
    answer = preview(client, body, "onnx")
    assert answer.status_code == status, answer.text
    if status == 409:
        assert answer.json()["code"] == "format_unavailable"
        assert "no worker that is there writes onnx: one needs layercut[onnx]" in answer.text
    assert preview(client, body).status_code == 200


def test_one_worker_must_write_all_that_a_job_asks_for(
    client: TestClient, body: dict[str, Any], state: GatewayState
) -> None:
    for name in ("onnx", "onnx-bf16"):
        about = ABOUT.model_copy(update={"formats": ["safetensors", name]})
        state.workers.announce(f"w-{name}", SandboxReport(complete=True), about)
    assert preview(client, body, "onnx").status_code == 200
    answer = preview(client, body, "onnx", "onnx-bf16")
    assert (answer.status_code, answer.json()["code"]) == (409, "format_unavailable")
