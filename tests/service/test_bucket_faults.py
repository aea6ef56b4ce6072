"""A bucket that is not there, that refuses, or that stalls: readiness and every answer tell which, and where."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import GatewaySettings
from tests.support.processes import eventually
from tests.support.seaweedfs import OWNER, READER, Identity, Seaweed

pytestmark = pytest.mark.slow

OF_ARTIFACTS = ("report", "files", "files/report.json", "download")


@pytest.fixture
def settings(settings: GatewaySettings, s3_url: str) -> GatewaySettings:
    return settings.model_copy(update={"artifacts_url": s3_url, "database_seconds": 1.0})


def check_told(client: TestClient, job_id: str, kind: str, why: str, address: str) -> None:
    ready = client.get("/readyz")
    said = ready.json()
    assert (ready.status_code, said["checks"]["artifacts"], said["checks"]["database"]) == (503, kind, "ok")
    told = [said["reasons"]["artifacts"]]
    for name in OF_ARTIFACTS:
        answer = client.get(f"/v1/jobs/{job_id}/{name}", follow_redirects=False)
        assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable"), name
        told.append(answer.json()["detail"])
    for sentence in told:
        assert why in sentence
        assert address in sentence
        assert not [secret for secret in (OWNER.secret_key, OWNER.access_key, "Signature") if secret in sentence]


class Case(NamedTuple):
    who: Identity
    why: str


@pytest.mark.parametrize(
    "case",
    [
        Case(OWNER._replace(secret_key="wrong"), "its secret key does not belong to its access key"),
        Case(Identity("x", "AKIANOBODY", "secret", ()), "its access key is not known there"),
    ],
    ids=["wrong secret", "unknown key"],
)
def test_a_gateway_whose_key_is_refused_says_so(
    settings: GatewaySettings, finished: str, seaweedfs: Seaweed, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    for name, value in seaweedfs.environment(case.who).items():
        monkeypatch.setenv(name, value)
    with TestClient(create_app(settings)) as client:
        check_told(client, finished, "refused", case.why, f"{seaweedfs.endpoint}/layercut")


def test_a_key_that_may_only_read_serves_downloads_and_is_not_ready(
    settings: GatewaySettings, finished: str, seaweedfs: Seaweed, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in seaweedfs.environment(READER).items():
        monkeypatch.setenv(name, value)
    with TestClient(create_app(settings)) as client:
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["artifacts"]) == (503, "refused")
        assert "its key may not do this" in ready.json()["reasons"]["artifacts"]
        assert client.get(f"/v1/jobs/{finished}/report").status_code == 200


def test_a_bucket_that_is_not_there_is_named(settings: GatewaySettings, finished: str, seaweedfs: Seaweed) -> None:
    nowhere = settings.model_copy(update={"artifacts_url": "s3://nowhere/layercut"})
    with TestClient(create_app(nowhere)) as client:
        check_told(client, finished, "missing", "has no such bucket", f"{seaweedfs.endpoint}/nowhere")


def test_a_store_that_stalls_is_told_and_everything_works_once_it_answers(
    client: TestClient, finished: str, seaweedfs: Seaweed, body: dict[str, Any]
) -> None:
    seaweedfs.freeze()
    try:
        check_told(client, finished, "stalled", "takes connections and does not answer", seaweedfs.endpoint)
        assert client.post("/v1/jobs", json=body).status_code == 202
    finally:
        seaweedfs.thaw()
    eventually(lambda: client.get("/readyz").status_code == 200)
    assert client.get("/readyz").json()["reasons"] == {}
    assert client.get(f"/v1/jobs/{finished}/report").status_code == 200
