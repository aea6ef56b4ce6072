"""Plans over a cache that a hostile job has written to: answered as if it had not, and it is removed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api_schemas.requests import PlanRequest
from service.known_importance import Known
from service.reaper import clear_cache
from service.state import GatewayState
from sources.importance import FILE, KIND, importance_fingerprint
from sources.models import inspect
from tests.support.gateway_worker import claim

NUMBERS = "[" + ", ".join(f"0.{layer}" for layer in range(6)) + "]"
WHOLE = f'{{"weight_mean_abs": {NUMBERS}, "weight_variance": {NUMBERS}}}'


def leave(state: GatewayState, body: dict[str, Any], folder: Path, content: bytes, name: str = FILE) -> str:
    """What a job that was asked for the same has left in the cache, under this fingerprint."""
    request = PlanRequest.model_validate(body)
    facts = inspect(request.model, state.settings, modules=False)
    assert facts is not None
    asked, read = state.importance._identified(Known(request, facts, state.settings))
    fingerprint = importance_fingerprint(asked, facts, read)
    assert fingerprint is not None
    lease = claim(state).lease
    made = state.cache.take(lease, KIND, fingerprint)
    folder.mkdir()
    (folder / name).write_bytes(content)
    state.artifacts.publish(made.prefix, folder)  # type: ignore[union-attr]
    assert state.cache.made(lease, fingerprint, seconds=1.0, size=len(content))
    return fingerprint


@pytest.fixture
def asked(client: TestClient, body: dict[str, Any]) -> dict[str, Any]:
    body["prune"] = {"strategy": "parameter_aggregate", "drop": 2}
    assert client.post("/v1/jobs", json=body).status_code == 202
    return body


def test_what_a_job_has_measured_answers(
    client: TestClient, state: GatewayState, asked: dict[str, Any], tmp_path: Path
) -> None:
    leave(state, asked, tmp_path / "made", WHOLE.encode())
    assert client.post("/v1/plans", json=asked).json()["dropped"] == [1, 2]


@pytest.mark.parametrize(
    "left",
    [
        (WHOLE.encode() + b" " * 2**22, FILE),
        (b"[" * 200_000, FILE),
        (b"[" * 100 + b"]" * 100, FILE),
        (WHOLE.replace("0.1", "NaN").encode(), FILE),
        (WHOLE.replace("0.1", "1e999").encode(), FILE),
        (WHOLE.replace("0.1", '"0.1"').encode(), FILE),
        (WHOLE.replace("0.1, ", "").encode(), FILE),
        (WHOLE.replace("weight_mean_abs", "taylor").encode(), FILE),
        (b"null", FILE),
        (b'"\xff\xfe"', FILE),
        (b"", FILE),
        (WHOLE.encode(), "other.json"),
    ],
    ids=["large", "deep", "deeper", "nan", "infinite", "text", "few", "unasked", "null", "bytes", "empty", "named"],
)
def test_what_a_hostile_job_has_left_is_as_if_it_were_not_there(
    client: TestClient, state: GatewayState, asked: dict[str, Any], tmp_path: Path, left: tuple[bytes, str]
) -> None:
    fingerprint = leave(state, asked, tmp_path / "made", *left)

    answer = client.post("/v1/plans", json=asked)
    assert answer.status_code == 200
    plan = answer.json()
    assert plan["dropped"] is plan["importance"] is plan["measured_by"] is None
    assert any("POST /v1/jobs" in warning for warning in plan["warnings"])
    assert state.cache.find(fingerprint) is None, "the next job makes it anew"
    clear_cache(state)
    assert not list(state.settings.data_dir.rglob(left[1]))


def test_what_a_store_that_is_away_has_is_not_forgotten(
    client: TestClient, state: GatewayState, asked: dict[str, Any], tmp_path: Path
) -> None:
    fingerprint = leave(state, asked, tmp_path / "made", WHOLE.encode())
    folder = state.settings.data_dir / "artifacts"
    away = folder.rename(tmp_path / "away")
    assert client.post("/v1/plans", json=asked).json()["dropped"] is None
    assert state.cache.find(fingerprint) is not None
    away.rename(folder)
    assert client.post("/v1/plans", json=asked).json()["dropped"] == [1, 2]
