"""Several gateways deliver side by side, and one that is killed in the middle loses no message."""

from __future__ import annotations

import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from service.app import create_app
from service.settings import GatewaySettings
from store.columns import later
from store.database import open_engine
from store.jobs import JobStore
from store.tables import deliveries
from tests.support.events import queue
from tests.support.gateway_process import running_gateway
from tests.support.processes import eventually
from tests.support.webhook_receiver import Receiver, status

JOB = {"model": "acme/bert", "task": "sst2"}
ALLOWED: dict[str, Any] = {"webhook_hosts": ["127.0.0.1"], "webhook_plain_http": True}


@pytest.fixture(params=[pytest.param("sqlite", marks=pytest.mark.slow), "postgresql"])
def shared(request: pytest.FixtureRequest, settings: GatewaySettings) -> GatewaySettings:
    """What two gateways have in common: the database, and the folder that the key is in."""
    if request.param == "postgresql":
        settings.database_url = request.getfixturevalue("postgres_url")
    return settings.model_copy(update={**ALLOWED, "webhook_seconds": 5.0})


def test_two_gateways_deliver_each_message_once(shared: GatewaySettings) -> None:
    """Twenty are answered with an error first, and so come twice: under the same id."""
    refused: set[str] = set()
    lock = threading.Lock()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        message = handler.headers["webhook-id"]
        with lock:
            first = message not in refused and len(refused) < 20
            refused.update([message] if first else [])
        status(503 if first else 200)(handler)

    with (
        Receiver(answer) as receiver,
        TestClient(create_app(shared), base_url="http://localhost") as one,
        TestClient(create_app(shared), base_url="http://localhost") as two,
    ):
        hook = one.post("/v1/webhooks", json={"url": receiver.url, "events": ["job.queued"]}).json()
        store: JobStore = one.app.state.gateway.store  # type: ignore[attr-defined]
        jobs = {queue(store, JOB).id for _ in range(200)}
        shares = [client.app.state.gateway.metrics.registry for client in (one, two)]  # type: ignore[attr-defined]

        def delivered() -> list[float]:
            asked = ("layercut_webhook_deliveries_total", {"outcome": "delivered"})
            return [share.get_sample_value(*asked) for share in shares]

        def all_came() -> bool:
            failed = deliveries.c.last_status == 503, deliveries.c.attempts == 1
            with store._engine.begin() as connection:  # as waiting some seconds would
                connection.execute(update(deliveries).where(*failed).values(due_at=later()))
            return sum(delivered()) >= 200

        eventually(all_came, seconds=150)
        told = [message.read(hook["secret"])["data"]["id"] for message in receiver.got]
        assert all(delivered()), "both had a part in it"
        state = two.get(f"/v1/webhooks/{hook['id']}/deliveries?state=pending").json()["data"]
    assert (set(told), state) == (jobs, [])
    twice = {job for job, count in Counter(told).items() if count > 1}
    assert len(twice) == 20
    assert len({message.id for message in receiver.got}) == 200


@pytest.mark.chaos
def test_a_gateway_is_killed_while_it_delivers(tmp_path: Path) -> None:
    """It has sent the message and waits for the answer; another gateway sends it again, under the same id."""
    asked, released = threading.Event(), threading.Event()

    def hang(_: BaseHTTPRequestHandler) -> None:
        asked.set()
        released.wait(60)

    settings = {"webhook_hosts": "127.0.0.1", "webhook_plain_http": "true"}
    with Receiver(hang) as receiver:
        with running_gateway(tmp_path, **settings) as (port, process):
            address = f"http://127.0.0.1:{port}/v1/webhooks"
            hook = httpx.post(address, json={"url": receiver.url, "events": ["job.queued"]}, trust_env=False).json()
            engine = open_engine(f"sqlite:///{tmp_path}/data/layercut.db")
            job = queue(JobStore(engine), JOB)
            assert asked.wait(30)
            process.kill()
            process.wait(30)
        receiver.answer = status(200)
        with engine.begin() as connection:  # as waiting until nobody holds it would
            connection.execute(update(deliveries).values(due_at=later()))
        with running_gateway(tmp_path, **settings) as (port, _):
            address = f"http://127.0.0.1:{port}/v1/webhooks/{hook['id']}/deliveries?state=delivered"
            shown = eventually(lambda: httpx.get(address, trust_env=False).json()["data"])
        released.set()
        engine.dispose()
    assert [message.read(hook["secret"])["data"]["id"] for message in receiver.got] == [job.id, job.id]
    assert {message.id for message in receiver.got} == {shown[0]["id"]}
    log = (tmp_path / "gateway.log").read_text()
    assert "webhook" in log
    for secret in ("s3cr3t", hook["secret"].removeprefix("whsec_")):
        assert secret not in log
