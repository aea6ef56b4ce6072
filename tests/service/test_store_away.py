"""The artifact store is away, or hangs: what needs it is answered in time with 503, and everything else goes on."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import GatewaySettings
from tests.support.gateway_process import gateway_process
from tests.support.processes import eventually

OF_ARTIFACTS = ("report", "files", "files/report.json", "download")


@pytest.fixture
def silent_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 that takes connections, and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        named = {"ENDPOINT": f"http://127.0.0.1:{listener.getsockname()[1]}", "ALLOW_HTTP": "true", "REGION": "here"}
        for name, value in {**named, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        yield "s3://bucket/prefix"


def check_refused(client: httpx.Client | TestClient, job_id: str, why: str = "unreachable") -> None:
    for name in OF_ARTIFACTS:
        answer = client.get(f"/v1/jobs/{job_id}/{name}")
        assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable"), name
        assert int(answer.headers["Retry-After"]) > 0
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]["artifacts"]) == (503, why)
    assert ready.json()["checks"]["database"] == "ok"
    assert client.get(f"/v1/jobs/{job_id}").json()["status"] == "succeeded"


def test_a_folder_that_is_away_is_not_made_anew(
    client: TestClient, settings: GatewaySettings, finished: str, tmp_path: Path
) -> None:
    folder = Path(settings.artifacts_url.removeprefix("file://"))
    away = folder.rename(tmp_path / "away")
    check_refused(client, finished)
    assert not folder.exists()
    away.rename(folder)
    assert client.get(f"/v1/jobs/{finished}/files").status_code == 200
    eventually(lambda: client.get("/readyz").status_code == 200)


def test_a_gateway_that_starts_while_the_folder_is_away_makes_none(
    settings: GatewaySettings, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = tmp_path / "mount" / "artifacts"
    settings.artifacts_url = f"file://{folder}"
    finished = request.getfixturevalue("finished")
    away = folder.parent.rename(tmp_path / "away")
    with TestClient(create_app(settings)) as restarted:
        check_refused(restarted, finished)
        assert not folder.parent.exists()
        away.rename(folder.parent)
        assert restarted.get(f"/v1/jobs/{finished}/files").status_code == 200


@pytest.mark.slow
def test_a_store_that_hangs_holds_up_no_request(
    tmp_path: Path, finished: str, silent_store: str, body: dict[str, Any]
) -> None:
    with (
        gateway_process(
            tmp_path, artifacts_url=silent_store, model_roots=tmp_path / "models", database_seconds=1
        ) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=3) as other,
    ):
        check_refused(other, finished, "stalled")
        assert other.post("/v1/jobs", json=body).status_code == 202


def test_readiness_leaves_nothing_behind(client: TestClient, settings: GatewaySettings) -> None:
    assert client.get("/readyz").status_code == 200
    folder = Path(settings.artifacts_url.removeprefix("file://"))
    assert [path for path in folder.rglob("*") if path.is_file()] == []
