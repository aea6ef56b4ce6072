"""The same gateway on PostgreSQL and Valkey: only two URLs differ."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, make_url, text

from api_schemas.events import EventType
from service.app import create_app
from service.settings import GatewaySettings
from store.broker import QUEUE
from tests.support.events import say
from tests.support.gateway_worker import claim


@pytest.fixture
def empty_database(postgres_url: str) -> Iterator[str]:
    """Other tests leave jobs in theirs."""
    name = f"gateway_{secrets.token_hex(4)}"
    engine = create_engine(make_url(postgres_url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        yield make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


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
