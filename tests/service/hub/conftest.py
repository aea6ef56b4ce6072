"""A job of which the hub's clients are told, and its addresses."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.state import GatewayState
from tests.support.gateway_worker import claim, succeed
from tests.support.hub_gateway import MORE


@pytest.fixture
def job_id(client: TestClient, state: GatewayState, body: dict[str, Any], tmp_path: Path) -> str:
    made: str = client.post("/v1/jobs", json={**body, "suffix": "mine"}).json()["id"]
    succeed(state, claim(state), tmp_path / "scratch", **MORE)
    return made


@pytest.fixture
def api(job_id: str) -> str:
    return f"/api/models/jobs/{job_id}"


@pytest.fixture
def sha256(state: GatewayState, job_id: str) -> str:
    """Of the list of the artifact's files."""
    (manifest,) = (state.settings.data_dir / "artifacts").rglob("manifest.json")
    return hashlib.sha256(manifest.read_bytes()).hexdigest()


@pytest.fixture
def file(job_id: str) -> Callable[..., str]:
    return lambda name="model.safetensors", revision="main": f"/jobs/{job_id}/resolve/{revision}/{name}"
