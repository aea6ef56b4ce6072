"""Webhooks from a user's side: registered or named by a job, told, tried again, sent again."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from service.settings import GatewaySettings
from service.state import GatewayState
from store.columns import later
from store.tables import deliveries
from tests.support.gateway_worker import claim, succeed
from tests.support.processes import eventually
from tests.support.webhook_receiver import Message, Receiver, status

HOOKS = "/v1/webhooks"


@pytest.fixture
def settings(settings: GatewaySettings) -> GatewaySettings:
    return settings.model_copy(
        update={"webhook_hosts": ["127.0.0.1"], "webhook_plain_http": True, "webhook_seconds": 2.0}
    )


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def make_due(state: GatewayState) -> Callable[[], None]:
    """Has all that waits be due, as waiting for it would."""

    def move() -> None:
        with state.engine.begin() as connection:
            waiting = update(deliveries).where(deliveries.c.due_at.is_not(None))
            connection.execute(waiting.values(due_at=later(-1)))

    return move


def register(client: TestClient, receiver: Receiver, *events: str) -> dict[str, Any]:
    made = client.post(HOOKS, json={"url": receiver.url, **({"events": list(events)} if events else {})})
    assert made.status_code == 201, made.text
    answer: dict[str, Any] = made.json()
    return answer


def arrived(receiver: Receiver, count: int) -> list[Message]:
    eventually(lambda: len(receiver.got) >= count)
    return receiver.got


def delivered(client: TestClient, hook: str, count: int = 1) -> list[dict[str, Any]]:
    def found() -> list[dict[str, Any]]:
        data: list[dict[str, Any]] = client.get(f"{HOOKS}/{hook}/deliveries?state=delivered").json()["data"]
        return data if len(data) >= count else []

    page: list[dict[str, Any]] = eventually(found)
    return page


def test_the_end_of_a_job_is_told_to_a_registered_endpoint(
    client: TestClient, state: GatewayState, body: dict[str, Any], receiver: Receiver, tmp_path: Path
) -> None:
    hook = register(client, receiver)
    assert hook["url"] == receiver.url.replace("s3cr3t", "REDACTED")
    job = client.post("/v1/jobs", json={**body, "metadata": {"of": "mine"}}).json()
    succeed(state, claim(state), tmp_path / "scratch")
    message = arrived(receiver, 1)[0]
    told = message.read(hook["secret"])
    assert (told["type"], told["data"]["id"], told["data"]["status"]) == ("job.succeeded", job["id"], "succeeded")
    assert told["data"]["result"]["retention"] == 1.0
    assert client.get(told["data"]["urls"]["self"]).json()["id"] == job["id"]
    assert "mine" not in message.body.decode()
    shown = delivered(client, hook["id"])[0]
    assert (shown["id"], shown["job_id"], shown["last_status"], shown["attempts"]) == (message.id, job["id"], 204, 1)
    assert shown["next_attempt_at"] is None
    assert len(receiver.got) == 1
    assert state.metrics.registry.get_sample_value("layercut_webhook_deliveries_total", {"outcome": "delivered"}) == 1


def test_a_job_names_its_own(client: TestClient, body: dict[str, Any], receiver: Receiver) -> None:
    secret = client.post("/v1/webhook-secret").json()["secret"]
    sent = {**body, "webhook": {"url": receiver.url, "events": ["job.queued", "job.cancelled"]}}
    answer = client.post("/v1/jobs", json=sent)
    assert answer.status_code == 202
    job = answer.json()
    client.post(f"/v1/jobs/{job['id']}/cancel")
    other = client.post("/v1/jobs", json=body).json()
    client.post(f"/v1/jobs/{other['id']}/cancel")
    told = [message.read(secret) for message in arrived(receiver, 2)]
    assert sorted(one["type"] for one in told) == ["job.cancelled", "job.queued"]
    assert {one["data"]["id"] for one in told} == {job["id"]}
    for shown in (
        answer.text,
        client.get(f"/v1/jobs/{job['id']}").text,
        client.get(f"{HOOKS}?job_id={job['id']}").text,
    ):
        assert "REDACTED" in shown
        assert "s3cr3t" not in shown
    hook = client.get(f"{HOOKS}?job_id={job['id']}").json()["data"][0]
    assert len(delivered(client, hook["id"], 2)) == 2
    assert client.get(HOOKS).json()["data"] == []
    refused = client.post(f"{HOOKS}/{hook['id']}/rotate")
    assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")


def test_a_failure_is_tried_again_with_the_same_id(
    client: TestClient, state: GatewayState, body: dict[str, Any], receiver: Receiver, make_due: Callable[[], None]
) -> None:
    receiver.answer = status(500, b"out of order")
    hook = register(client, receiver, "job.queued")
    client.post("/v1/jobs", json=body)
    page = f"{HOOKS}/{hook['id']}/deliveries"

    def tried(times: int) -> dict[str, Any] | None:
        shown: dict[str, Any] = client.get(page).json()["data"][0]
        return shown if shown["last_error"] and shown["attempts"] == times else None

    first = eventually(lambda: tried(1))
    assert (first["state"], first["last_status"], first["last_error"]) == ("pending", 500, "status 500: out of order")
    assert first["next_attempt_at"]
    assert client.get(f"{HOOKS}/{hook['id']}").json()["failing_since"]
    receiver.answer = status(200)
    make_due()
    assert delivered(client, hook["id"])[0]["attempts"] == 2
    assert len({message.id for message in receiver.got}) == 1
    assert client.get(f"{HOOKS}/{hook['id']}").json()["failing_since"] is None
    assert client.get(f"{page}?state=failed").json()["data"] == []
    again = client.post(f"{page}/{first['id']}/redeliver")
    assert (again.status_code, again.json()["state"]) == (202, "pending")
    assert {message.id for message in arrived(receiver, 3)} == {first["id"]}
    for message in receiver.got:
        message.read(hook["secret"])
    assert client.post(f"{page}/msg_none/redeliver").json()["code"] == "delivery_not_found"


def test_what_another_gateway_has_taken_meanwhile_is_not_counted(
    client: TestClient, state: GatewayState, body: dict[str, Any]
) -> None:
    asked, goes_on = threading.Event(), threading.Event()

    def hang(handler: BaseHTTPRequestHandler) -> None:
        asked.set()
        goes_on.wait(30)
        status(200)(handler)

    with Receiver(hang) as receiver:
        register(client, receiver, "job.queued")
        client.post("/v1/jobs", json=body)
        assert asked.wait(30)
        with state.engine.begin() as connection:  # as the other takes it
            connection.execute(update(deliveries).values(attempts=2, due_at=later(3600)))
        goes_on.set()
        eventually(lambda: not state.deliverer._threads())
    counts = [line for line in client.get("/metrics").text.splitlines() if "webhook_deliveries_total{" in line]
    assert counts
    assert all(line.endswith(" 0.0") for line in counts), counts


def test_of_too_much_that_waits_the_oldest_is_given_up_and_says_why(
    client: TestClient, body: dict[str, Any], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.webhooks.deliverer.MOST_WAITING", 1)
    monkeypatch.setattr("service.webhooks.deliverer.UPKEEP_SECONDS", 0.0)
    receiver.answer = status(500)
    hook = register(client, receiver, "job.queued")["id"]
    jobs = [client.post("/v1/jobs", json=body).json()["id"] for _ in range(2)]
    failed = eventually(lambda: client.get(f"{HOOKS}/{hook}/deliveries?state=failed").json()["data"])
    assert [(one["job_id"], one["last_error"]) for one in failed] == [
        (jobs[0], "more than 1 messages waited for the webhook: the oldest were given up")
    ]


def test_trying_an_endpoint_says_what_came_of_it(client: TestClient, receiver: Receiver) -> None:
    hook = register(client, receiver)
    address = f"{HOOKS}/{hook['id']}/test"
    assert client.post(address).json()["state"] == "delivered"
    told = receiver.got[0].read(hook["secret"])
    assert (told["type"], told["data"]) == ("webhook.test", {"id": hook["id"], "object": "webhook"})
    receiver.answer = status(403, b"not you")
    shown = client.post(address).json()
    assert (shown["state"], shown["last_status"], shown["last_error"]) == ("failed", 403, "status 403: not you")
    assert client.get(f"{HOOKS}/{hook['id']}").json()["failing_since"] is None, "a test counts for nothing"
    receiver.answer = status(410)
    client.post(address)
    shown = client.get(f"{HOOKS}/{hook['id']}").json()
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "it answered 410: it wants no more")
    assert client.patch(f"{HOOKS}/{hook['id']}", json={"enabled": True}).json()["enabled"]


def test_an_endpoint_is_changed_and_deleted(client: TestClient, body: dict[str, Any], receiver: Receiver) -> None:
    hook = register(client, receiver)
    address = f"{HOOKS}/{hook['id']}"
    assert client.patch(address, json={}).json()["events"] == hook["events"]
    changed = client.patch(address, json={"events": ["job.queued", "job.queued"]}).json()
    assert changed["events"] == ["job.queued"]
    assert client.patch(address, json={"url": "https://10.0.0.1/"}).json()["code"] == "webhook_not_allowed"
    assert not client.patch(address, json={"enabled": False}).json()["enabled"]
    client.post("/v1/jobs", json=body)
    assert client.get(f"{address}/deliveries").json()["data"] == []
    assert [line["action"] for line in client.get("/v1/audit").json()["data"]].count("webhook.change") == 2
    assert client.delete(address).status_code == 204
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/test"), ("POST", "/rotate"), ("GET", "/deliveries")):
        assert client.request(method, address + path).json()["code"] == "webhook_not_found"


def test_a_secret_is_shown_once_and_kept_nowhere(
    client: TestClient, state: GatewayState, settings: GatewaySettings, receiver: Receiver
) -> None:
    hook = register(client, receiver)
    rotated = client.post(f"{HOOKS}/{hook['id']}/rotate").json()
    assert rotated["secret"] != hook["secret"]
    client.post(f"{HOOKS}/{hook['id']}/test")
    for secret in (hook["secret"], rotated["secret"]):
        receiver.got[0].read(secret)
    of_jobs = [client.post("/v1/webhook-secret").json()["secret"] for _ in range(2)]
    secrets = [hook["secret"], rotated["secret"], *of_jobs]
    assert len(set(secrets)) == 4
    shown = [client.get(path).text for path in (HOOKS, f"{HOOKS}/{hook['id']}", f"{HOOKS}/{hook['id']}/deliveries")]
    shown.append(client.get("/v1/audit").text)
    kept = b"".join(path.read_bytes() for path in settings.data_dir.rglob("*") if path.is_file())
    for secret in secrets:
        bare = secret.removeprefix("whsec_")
        assert not [text for text in shown if bare in text]
        assert bare.encode() not in kept
    assert "s3cr3t" not in "".join(shown)
    with state.engine.connect() as connection:
        bodies = connection.scalars(select(deliveries.c.body)).all()
    assert json.loads(bodies[0])["type"] == "webhook.test"


def test_the_receiver_of_the_documentation(client: TestClient, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0].replace("HTTPServer((", "made = HTTPServer((")
    code = code.replace("9000), Receiver).serve_forever()", "0), Receiver)")
    names: dict[str, Any] = {}
    exec(code.replace("whsec_...", "whsec_" + "A" * 43), names)
    server = names["made"]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        hook = client.post(HOOKS, json={"url": f"http://127.0.0.1:{server.server_address[1]}/"}).json()
        assert client.post(f"{HOOKS}/{hook['id']}/test").json()["last_status"] == 401, "it has no secret yet"
        exec(code.replace("whsec_...", hook["secret"]).split("made = ")[0], names)
        server.RequestHandlerClass = names["Receiver"]
        assert client.post(f"{HOOKS}/{hook['id']}/test").json()["last_status"] == 204
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert capsys.readouterr().out == f"webhook.test {hook['id']}\n"


def test_one_that_does_not_answer_holds_up_no_other(
    client: TestClient, body: dict[str, Any], receiver: Receiver
) -> None:
    """Ten messages wait for one that never answers; the other endpoint's come meanwhile."""
    with Receiver() as dead:
        hanging = register(client, dead, "job.queued")
        dead.answer = lambda handler: handler.rfile.read(1) and None  # type: ignore[func-returns-value]
        quick = register(client, receiver, "job.queued")
        for _ in range(10):
            client.post("/v1/jobs", json=body)
        assert len(delivered(client, quick["id"], 10)) == 10
        assert client.get(f"{HOOKS}/{hanging['id']}/deliveries?state=delivered").json()["data"] == []
        assert len(dead.got) < 10
