"""The same gateway on PostgreSQL and Valkey: only two URLs differ."""

from __future__ import annotations

import contextlib
from typing import Any

from fastapi.testclient import TestClient

from api_schemas.events import EventType
from service.app import create_app
from service.settings import GatewaySettings
from store.broker import QUEUE
from tests.support.events import say
from tests.support.gateway_worker import claim


def test_a_job_goes_its_way_through_real_servers(
    settings: GatewaySettings, body: dict[str, Any], empty_database: str, valkey_url: str
) -> None:
    settings.database_url = empty_database
    settings.broker_url = valkey_url
    body["metadata"] = {"test": "gateway-servers"}
    with TestClient(create_app(settings)) as client:
        state = client.app.state.gateway  # type: ignore[attr-defined]
        before = state.wakeups.waiting()
        assert client.get("/readyz").json()["status"] == "ok"
        job = client.post("/v1/jobs", json=body).json()
        state.wakeups.stop()
        assert state.wakeups.waiting() == before + 1
        taken = claim(state)
        assert taken.lease.job_id == job["id"]
        state.store.finish(taken.lease, say(EventType.FAILED, error={"code": "export_failed", "message": "it broke"}))
        found = client.get("/v1/jobs", params={"metadata[test]": "gateway-servers", "status": "failed"}).json()["data"]
        assert [row["id"] for row in found] == [job["id"]]
        assert found[0]["request"] == body
        answer = client.get(job["urls"]["events"], headers={"Accept": "text/event-stream"})
        assert answer.text.count("\nevent: ") == 3
        with contextlib.closing(state.wakeups._celery.connection_for_write()) as connection:
            connection.default_channel.queue_purge(QUEUE)
