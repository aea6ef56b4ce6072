"""Who is there to do jobs, and to whom it is told what they do."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from api_schemas.tenants import Scope
from api_schemas.workers import About, SandboxReport
from service.settings import GatewaySettings
from service.state import GatewayState
from store.workers import Doing
from tests.support.access import bearer, key_of

ABOUT = About(host="h", pid=1, version="0.1.0", device="cuda", gpu_name="H200", gpu_memory_bytes=2**37)


@pytest.fixture
def settings(settings: GatewaySettings) -> GatewaySettings:
    return settings.model_copy(update={"auth": "on"})


def test_a_job_is_named_to_its_own_tenant_and_to_the_operator(
    client: TestClient, state: GatewayState, body: dict[str, Any]
) -> None:
    own = bearer(key_of(state, "team-a", Scope.SUBMIT))
    job_id = client.post("/v1/jobs", json=body, headers=own).json()["id"]
    state.workers.announce("w-1", SandboxReport(complete=True), ABOUT)
    state.workers.announce("w-2", SandboxReport(complete=False))
    state.workers.seen("w-1", Doing(job_id, 1))
    state.workers.seen("w-2", paused_reason="there is no room on its disk")

    def asked(tenant: str, scope: Scope) -> list[dict[str, Any]]:
        answer = client.get("/v1/workers", headers=bearer(key_of(state, tenant, scope)))
        assert answer.status_code == 200
        found: list[dict[str, Any]] = answer.json()["data"]
        return found

    for tenant, scope, named in (
        ("team-a", Scope.READ, True),
        ("team-b", Scope.ADMIN, False),
        ("default", Scope.READ, False),
        ("default", Scope.ADMIN, True),
    ):
        busy, paused = asked(tenant, scope)
        assert (busy["name"], busy["state"], busy["about"]["gpu_name"]) == ("w-1", "busy", "H200")
        assert (busy["job_id"], busy["attempt"]) == ((job_id, 1) if named else (None, None)), (tenant, scope)
        assert (paused["state"], paused["paused_reason"]) == ("paused", "there is no room on its disk")
        assert paused["about"] is None


def test_one_that_left_is_not_there(client: TestClient, state: GatewayState) -> None:
    key = bearer(key_of(state, "default", Scope.READ))
    state.workers.announce("w-1", SandboxReport(complete=True))
    assert len(client.get("/v1/workers", headers=key).json()["data"]) == 1
    state.workers.leave("w-1")
    assert client.get("/v1/workers", headers=key).json() == {"object": "list", "data": []}
