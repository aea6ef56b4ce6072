"""What Prometheus reads of a gateway: by route, from the database, within seconds, and for whom."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from api_schemas.tenants import Scope
from api_schemas.workers import SandboxReport
from service.app import create_app
from service.reaper import reap
from service.settings import GatewaySettings
from service.state import GatewayState
from tests.support.access import bearer, key_of
from tests.support.gateway_worker import claim

Samples = Callable[..., float | None]


def read(text: str, name: str, **labels: str) -> float | None:
    """The value of the series; None where there is none."""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return float(sample.value)
    return None


@pytest.fixture
def sample(client: TestClient) -> Samples:
    def ask(name: str, **labels: str) -> float | None:
        answer = client.get("/metrics")
        assert answer.status_code == 200, answer.text
        return read(answer.text, f"layercut_{name}", **labels)

    return ask


def test_a_wait_that_was_asked_for_is_not_counted_as_slow(
    client: TestClient, sample: Samples, body: dict[str, Any]
) -> None:
    address = client.post("/v1/jobs", json=body).json()["urls"]["self"]
    took = client.get(address, headers={"Prefer": "wait=1"}).elapsed.total_seconds()
    counted = sample("http_request_duration_seconds_sum", method="GET", route="/v1/jobs/{job_id}")
    assert counted is not None
    assert 0 < counted < took - 0.9, "however slow the machine is"


def test_requests_are_counted_by_route_and_never_by_address(client: TestClient, sample: Samples) -> None:
    for path in ("/v1/jobs/job_1", "/v1/jobs/job_2", "/nothing/here", "/nor/here", "/v1/jobs"):
        client.get(path)
    client.request("BREW", "/v1/jobs")
    for method, route, status, count in (
        ("GET", "/v1/jobs/{job_id}", "404", 2),
        ("GET", "unknown", "404", 2),
        ("GET", "/v1/jobs", "200", 1),
        ("other", "/v1/jobs", "405", 1),
    ):
        assert sample("http_requests_total", method=method, route=route, status=status) == count, route
    assert sample("http_request_duration_seconds_count", method="GET", route="/v1/jobs/{job_id}") == 2
    assert sample("http_requests_in_flight") == 1, "the scrape itself"
    assert not {"job_1", "nothing"} & set(client.get("/metrics").text.replace("/", '"').split('"'))


def test_what_the_database_knows_is_told(
    client: TestClient, state: GatewayState, sample: Samples, body: dict[str, Any]
) -> None:
    for _ in range(3):
        assert client.post("/v1/jobs", json=body).status_code == 202
    claim(state)
    state.workers.announce("w", SandboxReport(complete=True))
    assert sample("up", what="database") == 1
    assert sample("jobs", status="queued") == sample("queue_depth") == 2
    assert sample("jobs", status="running") == sample("running_jobs") == 1
    assert sample("workers", state="idle") == 1
    oldest = sample("queue_oldest_seconds")
    assert oldest is not None
    assert 0 <= oldest < 60
    for folder in ("data", "database", "artifacts"):
        assert sample("disk_free_bytes", folder=folder)
    assert sample("build_info", version=client.get("/version").json()["version"]) == 1


def test_what_the_reaper_does_is_counted(
    state: GatewayState, client: TestClient, sample: Samples, body: dict[str, Any]
) -> None:
    client.post("/v1/jobs", json={**body, "limits": {"max_attempts": 3}})
    taken = claim(state)
    with sqlite3.connect(state.settings.data_dir / "layercut.db") as connection:
        connection.execute("UPDATE jobs SET lease_expires_at = '2000-01-01 00:00:00.000000'")
    reap(state)
    assert sample("reaped_jobs_total", became="requeued") == 1
    assert taken.lease.attempt == 1


@pytest.mark.slow
def test_a_database_that_hangs_is_said_and_not_waited_for(
    client: TestClient, sample: Samples, monkeypatch: pytest.MonkeyPatch, state: GatewayState
) -> None:
    released = threading.Event()
    monkeypatch.setattr(state.keys, "anyone", lambda: released.wait(30))
    monkeypatch.setattr("service.routes.metrics.count_all", lambda engine: released.wait(30))
    assert sample("up", what="database") == 0
    assert sample("jobs", status="queued") is None
    assert sample("build_info", version=client.get("/version").json()["version"]) == 1
    assert not released.is_set(), "it was not waited for"
    released.set()


def test_a_database_that_is_away_is_said(client: TestClient, sample: Samples, state: GatewayState) -> None:
    with state.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE workers RENAME TO gone")
    assert sample("up", what="database") == 0


def test_it_can_be_switched_off(settings: GatewaySettings) -> None:
    with TestClient(create_app(settings.model_copy(update={"metrics": False}))) as client:
        assert client.get("/metrics").status_code == 404
        assert client.get("/v1/jobs").status_code == 200


class TestWithKeys:
    @pytest.fixture
    def settings(self, settings: GatewaySettings) -> GatewaySettings:
        return settings.model_copy(update={"auth": "on"})

    def test_it_takes_a_key_of_the_operators_tenant(self, client: TestClient, state: GatewayState) -> None:
        assert client.get("/metrics").status_code == 401
        answer = client.get("/metrics", headers=bearer(key_of(state, "team-a", Scope.ADMIN)))
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert client.get("/metrics", headers=bearer(key_of(state, "default", Scope.READ))).status_code == 200

    def test_a_key_that_is_new_to_the_gateway_is_waited_for(
        self, client: TestClient, state: GatewayState, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As at a deploy, where all keys are: a slow hash is no database that is away."""
        monkeypatch.setattr("service.routes.metrics.KEY_SECONDS", 0.0)
        assert client.get("/metrics", headers=bearer(key_of(state, "default", Scope.READ))).status_code == 200

    def test_a_key_that_was_right_will_do_while_the_database_is_away(
        self, client: TestClient, state: GatewayState, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key = bearer(key_of(state, "default", Scope.READ))
        assert client.get("/metrics", headers=key).status_code == 200
        monkeypatch.setattr("service.authentication.RECHECK_SECONDS", -1.0)
        with state.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE api_keys RENAME TO gone")
        assert client.get("/metrics", headers=key).status_code == 200
        assert client.get("/metrics", headers=bearer("lc_00000000_wrong")).status_code == 503
