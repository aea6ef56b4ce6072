"""`/ui/workers`: who is there, what they do, and what one may use."""

from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient

from api_schemas.tenants import Quotas, Scope
from api_schemas.workers import About, Measure, SandboxReport
from service.app import create_app
from service.settings import GatewaySettings
from service.state import GatewayState
from store.workers import Doing
from tests.support.access import key_of
from tests.support.gateway_worker import claim
from tests.support.pages import log_in, words_of

ABOUT = About(host="gpu-1", pid=7, version="0.1.0", device="cuda", gpu_name="NVIDIA H200", gpu_memory_bytes=150 * 10**9)
OPEN = SandboxReport(complete=False, measures=[Measure(name="network", on=False, detail="no <b>namespaces</b>")])


def test_nobody_is_there(client: TestClient) -> None:
    said = words_of(client.get("/ui/workers"))
    assert "No worker is there" in said
    assert "layercut worker" in said


def test_workers_are_told_of(client: TestClient, state: GatewayState, body: dict[str, Any]) -> None:
    client.post("/v1/jobs", json=body)
    taken = claim(state).lease
    client.post("/v1/jobs", json=body)
    state.workers.announce("worker-1", SandboxReport(complete=True), ABOUT)
    state.workers.seen("worker-1", Doing(taken.job_id, 1))
    state.workers.announce("worker-2", OPEN)
    state.workers.seen("worker-2", paused_reason="the disk is <full>")
    page = client.get("/ui/workers")
    said = words_of(page)
    for words in ("worker-1", "Busy", "NVIDIA H200", "150 GB", "Locked in", "worker-2", "Paused", "the disk is <full>",
                  "Not locked in", "network: no <b>namespaces</b>", "Jobs that wait 1 no limit"):  # fmt: skip
        assert words in said, words
    assert "<b>" not in page.text
    assert f'href="/ui/jobs/{taken.job_id}"' in page.text
    part = client.get("/ui/workers", headers={"HX-Request": "true"})
    assert part.text.lstrip().startswith('<div id="workers"')


def test_quotas_and_what_is_used_of_them(settings: GatewaySettings) -> None:
    with TestClient(create_app(settings.model_copy(update={"auth": "on"}))) as client:
        state: GatewayState = client.app.state.gateway  # type: ignore[attr-defined]
        state.tenants.create("team-a", "team-a", Quotas(queued_jobs=4, artifact_bytes=10**9, requests_per_minute=600))
        page = log_in(client, key_of(state, "team-a", Scope.READ), "/ui/workers")
        said = words_of(page)
        for words in ("Jobs that wait 0 of 4", "0 B of 1 GB", "600 at most"):
            assert words in said, words
        assert page.headers["RateLimit-Policy"] == '"requests";q=600;w=60', "a page counts as a request does"
