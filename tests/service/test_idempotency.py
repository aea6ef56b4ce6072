"""`Idempotency-Key`: a POST that is sent again makes no second job, whatever happens to the first."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg
import pytest
import uvicorn
from fastapi.testclient import TestClient
from sqlalchemy import event, update

from api_schemas.errors import LayercutError
from api_schemas.events import EventType
from service.app import create_app
from service.reaper import keep_keys
from service.retention import forget
from service.settings import GatewaySettings
from service.state import GatewayState
from store.columns import later
from store.idempotency import Reservation
from store.tables import idempotency
from tests.support.events import say
from tests.support.gateway_worker import claim
from tests.support.processes import eventually

KEY = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}


def count(client: TestClient) -> int:
    return len(client.get("/v1/jobs?limit=100").json()["data"])


def test_the_same_request_again_is_answered_as_the_first(client: TestClient, body: dict[str, Any]) -> None:
    first = client.post("/v1/jobs", json=body, headers=KEY)
    other_order = dict(reversed(body.items()))
    quoted = {"Idempotency-Key": f'"{KEY["Idempotency-Key"]}"'}
    for headers, sent in ((KEY, body), (quoted, other_order)):
        again = client.post("/v1/jobs", json=sent, headers=headers)
        assert (again.status_code, again.content) == (first.status_code, first.content) == (202, first.content)
        assert again.headers["Idempotency-Replayed"] == "true"
        assert again.headers["Location"] == first.headers["Location"]
    assert "Idempotency-Replayed" not in first.headers
    assert count(client) == 1


def test_another_request_with_the_key_is_refused(client: TestClient, body: dict[str, Any]) -> None:
    job = client.post("/v1/jobs", json=body, headers=KEY).json()
    for path, sent in (("/v1/jobs", {**body, "seed": 7}), ("/v1/jobs?x=1", body), (job["urls"]["retry"], None)):
        answer = client.post(path, json=sent, headers=KEY)
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
        assert answer.json()["errors"][0]["pointer"] == "Idempotency-Key"
    assert count(client) == 1


def test_the_first_under_way_is_said_with_when_to_come_again(
    client: TestClient, state: GatewayState, body: dict[str, Any], stuck: threading.Event
) -> None:
    def is_reserved() -> bool:
        with state.engine.connect() as connection:
            return connection.execute(idempotency.select()).first() is not None

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/v1/jobs", json=body, headers=KEY)
        eventually(is_reserved)
        second = client.post("/v1/jobs", json=body, headers=KEY)
        assert second.status_code == 409
        assert (second.json()["code"], second.headers["Retry-After"]) == ("request_in_progress", "5")
        stuck.set()
        assert first.result().status_code == 202
    assert client.post("/v1/jobs", json=body, headers=KEY).json()["id"] == first.result().json()["id"]


def test_a_refused_request_leaves_the_key_free(client: TestClient, body: dict[str, Any]) -> None:
    wrong = {**body, "prune": {"strategy": "top", "drop": 6}}
    for _ in range(2):
        assert client.post("/v1/jobs", json=wrong, headers=KEY).json()["code"] == "invalid_layers"
    assert client.post("/v1/jobs", json=body, headers=KEY).status_code == 202


def test_validate_only_heeds_no_key(client: TestClient, body: dict[str, Any]) -> None:
    for seed in (1, 2):
        answer = client.post("/v1/jobs?validate_only=true", json={**body, "seed": seed}, headers=KEY)
        assert answer.status_code == 200


@pytest.mark.parametrize("key", ['"', '""', '"a"b"', "k" * 256, '"' + "k" * 256 + '"', "\x7f", "ä".encode()])
def test_what_is_no_key_is_refused(client: TestClient, body: dict[str, Any], key: str | bytes) -> None:
    answer = client.post("/v1/jobs", json=body, headers=[("Idempotency-Key", key)])  # type: ignore[list-item]
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "Idempotency-Key")
    assert count(client) == 0


@pytest.mark.parametrize("key", ["k" * 255, '"' + "k" * 255 + '"', "a b", "k"])
def test_what_is_a_key_is_taken(client: TestClient, body: dict[str, Any], key: str) -> None:
    assert client.post("/v1/jobs", json=body, headers={"Idempotency-Key": key}).status_code == 202


def test_a_retry_with_a_key_is_done_once(client: TestClient, state: GatewayState, body: dict[str, Any]) -> None:
    job = client.post("/v1/jobs", json=body).json()
    error = {"code": "training_diverged", "message": "it diverged"}
    for _ in range(2):  # of the second failure, the same message is no second retry
        state.store.finish(claim(state).lease, say(EventType.FAILED, error=error))
        answer = client.post(job["urls"]["retry"], headers=KEY)
        assert (answer.status_code, answer.json()["status"]) == (202, "queued")
        if client.get(job["urls"]["self"]).json()["status"] == "failed":
            break
    assert answer.headers["Idempotency-Replayed"] == "true"
    assert client.get(job["urls"]["self"]).json()["attempt"] == 2


def test_a_key_is_a_tenants_own(state: GatewayState) -> None:
    assert isinstance(state.idempotency.reserve("a", "k", "f"), Reservation)
    assert isinstance(state.idempotency.reserve("b", "k", "g"), Reservation)


def test_a_key_is_free_again_after_its_time(client: TestClient, state: GatewayState, body: dict[str, Any]) -> None:
    client.post("/v1/jobs", json=body, headers=KEY)
    with state.engine.begin() as connection:
        connection.execute(update(idempotency).values(created_at=later(-25 * 3600)))
    assert client.post("/v1/jobs", json={**body, "seed": 7}, headers=KEY).status_code == 202
    assert count(client) == 2


def test_one_whose_place_was_taken_makes_no_second_job(
    client: TestClient,
    state: GatewayState,
    body: dict[str, Any],
    stuck: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As if the first gateway had been stopped for too long, and went on then."""
    monkeypatch.setattr(state.idempotency, "renew", lambda: None)
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(client.post, "/v1/jobs", json=body, headers=KEY)

        def reserved() -> bool:
            with state.engine.begin() as connection:
                return connection.execute(update(idempotency).values(created_at=later(-100_000))).rowcount == 1

        eventually(reserved)
        other = pool.submit(client.post, "/v1/jobs", json=body, headers=KEY)
        eventually(lambda: not reserved_before(state))
        stuck.set()
        answers = sorted((slow.result().status_code, other.result().status_code))
    assert answers == [202, 409]
    assert slow.result().json()["code"] == "request_in_progress"
    assert count(client) == 1


def reserved_before(state: GatewayState) -> bool:
    """Whether the reservation is still the old one."""
    with state.engine.connect() as connection:
        return bool(connection.scalar(idempotency.select().where(idempotency.c.created_at < later(-600))))


@pytest.fixture(params=["sqlite", "postgresql"])
def two_gateways(settings: GatewaySettings, request: pytest.FixtureRequest) -> Iterator[tuple[TestClient, TestClient]]:
    if request.param == "postgresql":
        settings.database_url = request.getfixturevalue("empty_database")
    with TestClient(create_app(settings)) as first, TestClient(create_app(settings)) as second:
        # FastAPI makes its routes at an app's first request, with warnings silenced for all threads of the process: two
        # apps in one process would take turns in ending each other's silence, and a warning is an error here.
        for gateway in (first, second):
            assert count(gateway) == 0
        yield first, second


def test_fifty_equal_posts_at_once_across_two_gateways_make_one_job(
    two_gateways: tuple[TestClient, TestClient], body: dict[str, Any]
) -> None:
    start = threading.Barrier(50)
    key = {"Idempotency-Key": body["model"]}

    def post(number: int) -> Any:
        start.wait()
        return two_gateways[number % 2].post("/v1/jobs", json=body, headers=key)

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(post, range(50)))
    others = [answer.text for answer in answers if answer.status_code not in (202, 409)]
    assert not others
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 202}) == 1
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} <= {"request_in_progress"}
    assert count(two_gateways[1]) == 1


def test_a_key_is_held_while_its_gateway_says_so_and_half_a_minute_longer(state: GatewayState) -> None:
    """One that crashed says nothing; one that takes long does, and what is answered or refused is said no more."""
    keys = state.idempotency
    held = [keys.reserve("default", key, "f") for key in ("under way", "refused", "answered")]
    assert all(isinstance(one, Reservation) for one in held)
    keys.release(held[1])
    keys.over(held[2])
    silent = 2 * state.settings.reap_seconds + 31
    with state.engine.begin() as connection:
        connection.execute(update(idempotency).values(created_at=later(-silent)))
    keep_keys(state)
    with pytest.raises(LayercutError, match="under way"):
        keys.reserve("default", "under way", "f")
    assert isinstance(keys.reserve("default", "refused", "f"), Reservation)
    assert isinstance(keys.reserve("default", "answered", "f"), Reservation), "as of one that crashed"


def test_a_key_is_free_though_the_connection_broke_when_it_was_reserved(state: GatewayState) -> None:
    """The database has written it, and its answer was lost."""

    def lose_the_answer(connection: Any) -> None:
        connection.connection.driver_connection.execute("COMMIT")
        raise psycopg.OperationalError("the server closed the connection unexpectedly")

    event.listen(state.engine, "commit", lose_the_answer)
    with pytest.raises(psycopg.OperationalError):
        state.idempotency.reserve("default", "k", "f")
    event.remove(state.engine, "commit", lose_the_answer)
    with pytest.raises(LayercutError, match="under way"):
        state.idempotency.reserve("default", "k", "f")
    forget(state)
    assert isinstance(state.idempotency.reserve("default", "k", "f"), Reservation)


def test_a_key_whose_request_the_database_was_away_for_is_free_once_it_is_back(
    client: TestClient, state: GatewayState, body: dict[str, Any]
) -> None:
    def away(_connection: object, _cursor: object, statement: str, *_: Any) -> None:
        if statement.startswith(("INSERT INTO jobs", "DELETE FROM idempotency")):
            raise psycopg.OperationalError("the server closed the connection unexpectedly")

    event.listen(state.engine, "before_cursor_execute", away)
    refused = client.post("/v1/jobs", json=body, headers=KEY)
    with pytest.raises(psycopg.OperationalError):
        forget(state)
    event.remove(state.engine, "before_cursor_execute", away)
    assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
    forget(state)
    assert client.post("/v1/jobs", json=body, headers=KEY).status_code == 202
    assert count(client) == 1


def test_a_request_that_the_gateways_end_cuts_short_is_told_so_and_another_gateway_takes_its_key_at_once(
    server: uvicorn.Server, live: tuple[str, GatewayState], body: dict[str, Any], stuck: threading.Event
) -> None:
    server.config.timeout_graceful_shutdown = 0
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(httpx.post, f"{live[0]}/v1/jobs", json=body, headers=KEY, trust_env=False, timeout=30)
        eventually(lambda: live[1].admissions._running.total() == 1)
        server.should_exit = True
        cut_short = first.result()
    assert (cut_short.status_code, cut_short.json()["code"]) == (503, "not_ready")
    assert cut_short.headers["Content-Type"] == "application/problem+json"
    assert (cut_short.headers["Retry-After"], len(cut_short.headers["X-Request-Id"])) == ("5", 32)
    stuck.set()
    with TestClient(create_app(live[1].settings)) as other:
        again = eventually(lambda: answered(other.post("/v1/jobs", json=body, headers=KEY)))
        assert (again.status_code, count(other)) == (202, 1)


def answered(response: Any) -> Any:
    """None of one that is to come again as the first is under way."""
    return None if response.status_code == 409 else response
