"""What a job will take is told before it is stored, for the device that the workers have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from safetensors.numpy import save_file

from api_schemas.data_size import BYTES_PER_TOKEN
from api_schemas.speeds import Rate, Speeds
from api_schemas.workers import About, SandboxReport
from service import estimates
from service.state import GatewayState

CPU = About(host="h", pid=1, version="0.1.0", device="cpu")
GPU = About(host="g", pid=1, version="0.1.0", device="cuda", gpu_name="H200")


def preview(client: TestClient, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post("/v1/jobs?validate_only=true", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def trained(body: dict[str, Any], folder: Path, rows: int = 3000) -> dict[str, Any]:
    path = folder / f"{rows}.csv"
    lines = "".join(f"a text with a number of words in it: {at},{'yes' if at % 2 else 'no'}\n" for at in range(rows))
    path.write_text(f"text,answer\n{lines}")
    task = {"dataset": str(path), "text_columns": ["text"], "label_column": "answer"}
    return {**body, "task": task, "recovery": {"max_length": 32}}


def speeds(flops: float, jobs: int = 3) -> Speeds:
    kinds: list[Any] = ["training", "inference"]
    return Speeds(
        precision="fp32", rates=[Rate(kind=kind, precision="fp32", width=4, flops=flops, jobs=jobs) for kind in kinds]
    )


def announce(state: GatewayState, name: str, about: About) -> None:
    state.workers.announce(name, SandboxReport(complete=True), about)


def test_a_preview_and_a_plan_say_what_the_job_would_take(client: TestClient, body: dict[str, Any]) -> None:
    found = preview(client, body)["estimate"]
    assert found["minutes"] > 0
    assert found["memory_bytes"] > 0
    assert (found["tokens"], found["basis"], found["device"]) == (0, "guess", "cpu")
    assert "no worker" in found["notes"][0]
    plan = client.post("/v1/plans", json={key: body[key] for key in ("model", "prune")}).json()
    assert plan["estimate"]["stages"] == found["stages"]
    assert "estimate" not in preview(client, body)["resolved"]["plan"], "of a job's own plan it is no part"


def test_the_rows_of_the_data_are_counted(client: TestClient, body: dict[str, Any], tmp_path: Path) -> None:
    found = [preview(client, trained(body, tmp_path / "tables", rows))["estimate"] for rows in (3000, 30_000)]
    few, many = (one["tokens"] for one in found)
    a_row = len("a text with a number of words in it: 12345") / BYTES_PER_TOKEN + 2
    assert 0.9 < few / (2 * 3 * 2700 * a_row) < 1.1, "a tenth is kept aside"
    assert 9.5 < many / few < 10.5
    assert found[0]["notes"] == ["no worker is there now: this is for a CPU of two cores"]


def test_it_goes_by_what_the_worker_has_measured(
    client: TestClient, state: GatewayState, body: dict[str, Any], tmp_path: Path
) -> None:
    body = trained(body, tmp_path / "tables")
    took = []
    for flops in (1e7, 1e8):
        announce(state, "w-1", CPU.model_copy(update={"speeds": speeds(flops)}))
        found = preview(client, body)["estimate"]
        assert (found["basis"], found["measured_jobs"], found["notes"]) == ("jobs", 3, [])
        took.append(found["minutes"])
    assert took[0] > 1.5 * took[1]


def test_a_worker_of_an_older_layercut_is_taken_for_one_of_its_kind(
    client: TestClient, state: GatewayState, body: dict[str, Any]
) -> None:
    announce(state, "w-1", GPU)
    found = preview(client, body)["estimate"]
    assert (found["device"], found["device_name"], found["basis"]) == ("cuda", "H200", "guess")
    state.workers.announce("w-0", SandboxReport(complete=True))
    assert preview(client, body)["estimate"]["device_name"] == "H200", "one that says nothing of itself is no kind"


def test_of_several_kinds_it_says_which_it_is_for(
    client: TestClient, state: GatewayState, body: dict[str, Any]
) -> None:
    announce(state, "w-1", CPU.model_copy(update={"speeds": speeds(1e9)}))
    announce(state, "w-2", CPU)
    announce(state, "w-3", GPU)
    found = preview(client, body)["estimate"]
    assert (found["device"], found["basis"]) == ("cpu", "jobs")
    assert "the others: H200" in found["notes"][0]


def test_a_model_that_cannot_be_looked_at_has_no_estimate_and_says_why(
    client: TestClient, body: dict[str, Any]
) -> None:
    found = preview(client, {**body, "model": "nobody/knows-it"})
    assert found["estimate"] is None
    assert "hub" in found["no_estimate"]


def test_what_a_worker_learns_is_told_while_it_lives(
    client: TestClient, state: GatewayState, body: dict[str, Any]
) -> None:
    announce(state, "w-1", CPU)
    (before,) = client.get("/v1/workers").json()["data"]
    state.workers.describe("w-1", CPU.model_copy(update={"speeds": speeds(1e9)}))
    (after,) = client.get("/v1/workers").json()["data"]
    assert (before["about"]["speeds"], after["about"]["speeds"]["rates"][0]["flops"]) == (None, 1e9)
    assert after["started_at"] == before["started_at"]


def test_a_plan_of_two_stacks_that_is_not_measured_yet_has_an_estimate(
    client: TestClient, make_model: Callable[..., Path]
) -> None:
    model = make_model(
        "t5", weights=False, model_type="t5", num_layers=6, num_decoder_layers=6, d_model=4, d_ff=8, num_heads=2,
        d_kv=2, architectures=["T5ForConditionalGeneration"],
    )  # fmt: skip
    names = [f"{stack}.block.{layer}.layer.1.wi.weight" for stack in ("encoder", "decoder") for layer in range(6)]
    tensors = {"shared.weight": np.zeros((10, 4), np.float32), **{name: np.ones((4, 4), np.float32) for name in names}}
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    body = {"model": str(model), "prune": {"strategy": "parameter_variance", "drop": {"encoder": 2}}}
    answer = client.post("/v1/plans", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["kept"] is None
    assert answer.json()["estimate"]["minutes"] > 0
    assert preview(client, {**body, "task": "none"})["estimate"]["minutes"] > 0


def test_what_cannot_be_worked_out_is_no_fault_of_the_plan(
    client: TestClient, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(estimates, "estimate", fail)
    plan = client.post("/v1/plans", json={key: body[key] for key in ("model", "prune")})
    assert plan.status_code == 200, plan.text
    for found in (plan.json(), preview(client, body)):
        assert found["estimate"] is None
        assert "could not be worked out" in found["no_estimate"]
