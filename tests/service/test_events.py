"""Events over the wire: replayed, live, resumed; one question to the store for all watchers."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from fastapi.testclient import TestClient

from api_schemas.events import EventType
from service.feed import Feed
from service.settings import GatewaySettings
from service.state import GatewayState
from tests.support.events import say
from tests.support.gateway_process import gateway_process
from tests.support.gateway_worker import claim
from tests.support.streams import STREAM, Counted, finish, messages


def test_a_page_goes_on_after_the_last_number(client: TestClient, state: GatewayState, body: dict[str, Any]) -> None:
    job = client.post("/v1/jobs", json=body).json()
    taken = claim(state)
    state.store.record(taken.lease, say(EventType.LOG, "hello"))
    first = client.get(job["urls"]["events"], params={"limit": 2}).json()
    assert [event["number"] for event in first["data"]] == [1, 2]
    assert first["has_more"]
    second = client.get(job["urls"]["events"], params={"after": 2}).json()
    assert [event["message"] for event in second["data"]] == ["hello"]
    assert not second["has_more"]


def test_a_watcher_sees_what_was_and_what_comes_and_then_the_end(
    live: tuple[str, GatewayState], body: dict[str, Any]
) -> None:
    address, state = live
    with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
        job = client.post("/v1/jobs", json=body).json()
        with client.stream("GET", job["urls"]["events"], headers=STREAM) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            stream = messages(answer.iter_lines())
            assert "retry" in next(stream)
            assert next(stream)["event"] == "job.queued"
            taken = claim(state)
            assert next(stream)["event"] == "job.started"
            state.store.record(taken.lease, say(EventType.STAGE, stage="pruning"))
            stage = next(stream)
            assert (stage["id"], stage["event"]) == ("3", "job.stage")
            assert json.loads(stage["data"])["data"]["stage"] == "pruning"
            finish(state, taken)
            assert [message["event"] for message in stream] == ["job.failed"]


def test_a_watcher_that_lost_the_connection_goes_on_where_it_was(
    client: TestClient, state: GatewayState, body: dict[str, Any]
) -> None:
    job = client.post("/v1/jobs", json=body).json()
    finish(state, claim(state))
    answer = client.get(job["urls"]["events"], headers={**STREAM, "Last-Event-ID": "1"})
    assert [m["id"] for m in messages(iter(answer.text.split("\n"))) if "id" in m] == ["2", "3"]
    # The answer that makes a browser stop: nothing will ever come.
    assert client.get(job["urls"]["events"], headers={**STREAM, "Last-Event-ID": "3"}).status_code == 204


@pytest.mark.parametrize("last", ["", "abc", "-1", "1.5", "9" * 30])
def test_an_event_id_that_was_not_ours_starts_at_the_beginning(
    client: TestClient, state: GatewayState, body: dict[str, Any], last: str
) -> None:
    job = client.post("/v1/jobs", json=body).json()
    finish(state, claim(state))
    answer = client.get(job["urls"]["events"], headers={**STREAM, "Last-Event-ID": last})
    assert [m["id"] for m in messages(iter(answer.text.split("\n"))) if "id" in m] == ["1", "2", "3"]


def test_a_quiet_stream_is_kept_open_with_comments(settings: GatewaySettings, request: pytest.FixtureRequest) -> None:
    settings.sse_heartbeat_seconds = 0.05
    address, _ = request.getfixturevalue("live")
    body = request.getfixturevalue("body")
    with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
        job = client.post("/v1/jobs", json=body).json()
        with client.stream("GET", job["urls"]["events"], headers=STREAM) as answer:
            stream = messages(answer.iter_lines())
            assert any("" in message for message in stream)


def test_an_answer_that_is_neither_json_nor_a_stream_is_refused(client: TestClient, body: dict[str, Any]) -> None:
    job = client.post("/v1/jobs", json=body).json()
    answer = client.get(job["urls"]["events"], headers={"Accept": "image/png"})
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")


def test_many_watchers_cost_one_question_a_change(
    state: GatewayState, client: TestClient, body: dict[str, Any]
) -> None:
    job_id = client.post("/v1/jobs", json=body).json()["id"]
    store = Counted(state)

    async def watch() -> list[list[int]]:
        feed = Feed(store, 0.02)  # type: ignore[arg-type]
        async with feed.running():
            head = await feed.head(store, job_id)  # type: ignore[arg-type]
            seen: list[list[int]] = [[] for _ in range(50)]

            async def follow(numbers: list[int]) -> None:
                async for event in feed.events(job_id, head[0], head):
                    numbers.append(event.number)

            watchers = [asyncio.create_task(follow(numbers)) for numbers in seen]
            taken = await asyncio.to_thread(claim, state)
            while not all(numbers == [2] for numbers in seen):
                await asyncio.sleep(0)
            await asyncio.to_thread(finish, state, taken)
            await asyncio.gather(*watchers)
            assert not feed._channels
            return seen

    assert asyncio.run(watch()) == [[2, 3]] * 50
    assert store.asked["events"] == 2


def test_a_burst_longer_than_what_is_kept_reaches_every_watcher_whole(
    state: GatewayState, client: TestClient, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.feed.RECENT", 4)
    monkeypatch.setattr("service.feed.PAGE", 3)
    job_id = client.post("/v1/jobs", json=body).json()["id"]
    taken = claim(state)

    async def watch() -> list[int]:
        feed = Feed(state.store, 0.02)
        async with feed.running():
            stream = feed.events(job_id, 0, await feed.head(state.store, job_id))
            numbers = [(await anext(stream)).number]
            for _ in range(20):
                await asyncio.to_thread(state.store.record, taken.lease, say(EventType.LOG))
            await asyncio.to_thread(finish, state, taken)
            numbers += [event.number async for event in stream]
            return numbers

    assert asyncio.run(watch()) == list(range(1, 24))


def test_large_events_reach_every_watcher_though_few_are_kept(
    state: GatewayState, client: TestClient, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.feed.RECENT_BYTES", 3000)
    monkeypatch.setattr("store.rows.PAGE_BYTES", 3000)
    job_id = client.post("/v1/jobs", json=body).json()["id"]
    taken = claim(state)

    async def watch() -> list[int]:
        feed = Feed(state.store, 0.02)
        async with feed.running():
            head = await feed.head(state.store, job_id)
            early, late = feed.events(job_id, 0, head), feed.events(job_id, 0, head)
            numbers = [(await anext(early)).number]
            for size in (1000, 1000, 1000, 9000, 1000):
                await asyncio.to_thread(state.store.record, taken.lease, say(EventType.LOG, "x" * size))
            await asyncio.to_thread(finish, state, taken)
            numbers += [event.number async for event in early]
            assert [event.number async for event in late] == numbers
            return numbers

    assert asyncio.run(watch()) == list(range(1, 9))


def test_watchers_see_a_whole_answer_when_the_gateway_is_told_to_stop(
    settings: GatewaySettings, body: dict[str, Any], tmp_path: Path
) -> None:
    with (
        gateway_process(tmp_path, model_roots=settings.model_roots[0]) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client,
        contextlib.ExitStack() as streams,
    ):
        urls = client.post("/v1/jobs", json=body).json()["urls"]
        asked = [client.stream("GET", urls[name], headers=STREAM) for name in ("events", "logs") for _ in range(10)]
        watchers = [messages(streams.enter_context(stream).iter_lines()) for stream in asked]
        for watcher in watchers:
            assert "retry" in next(watcher)
        gateway = next(child for child in psutil.Process().children() if "gateway" in child.cmdline())
        gateway.terminate()
        # An answer that is cut off would raise.
        rest = [[message.get("event") for message in watcher] for watcher in watchers]
    assert rest == [["job.queued"]] * 10 + [[]] * 10


def test_a_page_of_large_events_says_that_there_are_more(
    client: TestClient, state: GatewayState, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.rows.PAGE_BYTES", 3000)
    job = client.post("/v1/jobs", json=body).json()
    taken = claim(state)
    for _ in range(5):
        state.store.record(taken.lease, say(EventType.LOG, "x" * 1000))
    page = client.get(job["urls"]["events"], params={"limit": 1000}).json()
    assert [event["number"] for event in page["data"]] == [1, 2, 3, 4]
    assert page["has_more"]
