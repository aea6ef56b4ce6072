"""Studies over HTTP: asked for, refused, shown, cancelled, gone on with, deleted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.state import GatewayState
from service.studies.feeding import feed_studies
from tests.support.gateway_worker import claim, succeed


@pytest.fixture
def grid(make_model: Callable[..., Path]) -> dict[str, Any]:
    """Six cells that train nothing."""
    return {
        "models": [str(make_model())],
        "tasks": ["none"],
        "strategies": ["top", "bottom", "symmetric"],
        "drops": [2, 4],
    }


def test_a_study_becomes_jobs(client: TestClient, state: GatewayState, grid: dict[str, Any]) -> None:
    answer = client.post("/v1/studies", json=grid)
    assert answer.status_code == 202, answer.text
    study = answer.json()
    assert answer.headers["Location"] == study["urls"]["self"] == f"/v1/studies/{study['id']}"
    assert study["progress"]["cells"] == 6
    shown = client.get(f"/v1/studies/{study['id']}").json()
    assert shown["status"] == "running"
    assert shown["progress"]["by_state"] == {"queued": 6}
    jobs = client.get("/v1/jobs", params={"study": study["id"]}).json()["data"]
    assert {job["study"] for job in jobs} == {study["id"]}
    assert {(row["strategy"], row["drop"]) for row in shown["table"]} == {
        (strategy, drop) for strategy in ("top", "bottom", "symmetric") for drop in (2, 4)
    }
