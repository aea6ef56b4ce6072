"""A job's log over HTTP: by offset, as text, live and resumed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, update

from service.feed import Feed
from service.state import GatewayState
from store.jobs import Claim
from store.tables import job_logs, jobs
from tests.support.gateway_worker import claim
from tests.support.streams import STREAM, Counted, finish, messages

KEEP = 10**6


def write(state: GatewayState, taken: Claim, *texts: str, keep: int = KEEP) -> None:
    for text in texts:
        state.store.write_log(taken.lease, text, state.store.log_end(taken.lease), keep)


@pytest.fixture
def taken(client: TestClient, state: GatewayState, body: dict[str, Any]) -> Claim:
    client.post("/v1/jobs", json=body)
    return claim(state)


def path(taken: Claim) -> str:
    return f"/v1/jobs/{taken.lease.job_id}/logs"


def test_it_is_read_page_by_page(client: TestClient, state: GatewayState, taken: Claim) -> None:
    write(state, taken, "one\n" * 10, "two\n" * 10)
    job = client.get(f"/v1/jobs/{taken.lease.job_id}").json()
    first = client.get(job["urls"]["logs"], params={"limit": 60}).json()
    assert [(piece["offset"], piece["attempt"], len(piece["text"])) for piece in first["data"]] == [
        (0, 1, 40), (40, 1, 20),
    ]  # fmt: skip
    assert (first["next_offset"], first["start"], first["complete"]) == (60, 0, False)
    finish(state, taken)
    second = client.get(job["urls"]["logs"], params={"offset": 60}).json()
    assert (second["data"][0]["text"], second["next_offset"], second["complete"]) == ("two\n" * 5, 80, True)


def test_past_the_end_it_is_empty_with_the_next_offset(client: TestClient, state: GatewayState, taken: Claim) -> None:
    write(state, taken, "one\n")
    for offset in (4, 5, 2**62):
        answer = client.get(path(taken), params={"offset": offset})
        assert answer.status_code == 200
        assert (answer.json()["data"], answer.json()["next_offset"]) == ([], 4)
    for offset in ("-1", "x", 2**63):
        assert client.get(path(taken), params={"offset": offset}).status_code == 422


def test_what_was_trimmed_is_said(client: TestClient, state: GatewayState, taken: Claim) -> None:
    write(state, taken, "one\n", "two\n", keep=4)
    page = client.get(path(taken)).json()
    assert (page["start"], page["data"][0]["offset"], page["data"][0]["text"]) == (4, 4, "two\n")


def test_plain_text_is_what_was_said(client: TestClient, state: GatewayState, taken: Claim) -> None:
    write(state, taken, "zwölf\n", "two\n")
    answer = client.get(path(taken), headers={"Accept": "text/plain"}, params={"offset": 1})
    assert answer.content == "wölf\ntwo\n".encode()
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert (answer.headers["next-offset"], answer.headers["log-start"]) == ("11", "0")


def test_a_log_that_was_kept_for_its_time_is_gone(client: TestClient, state: GatewayState, taken: Claim) -> None:
    write(state, taken, "one\n")
    finish(state, taken)
    with state.engine.begin() as connection:
        connection.execute(delete(job_logs))
        connection.execute(update(jobs).values(log_start=jobs.c.log_end))
    for headers in ({}, STREAM, {"Accept": "text/plain"}):
        answer = client.get(path(taken), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (410, "expired")


def test_it_is_watched_live_and_resumed(live: tuple[str, GatewayState], body: dict[str, Any]) -> None:
    address, state = live
    with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
        client.post("/v1/jobs", json=body)
        taken = claim(state)
        write(state, taken, "one\n")
        with client.stream("GET", path(taken), headers=STREAM) as answer:
            stream = messages(answer.iter_lines())
            assert "retry" in next(stream)
            first = next(stream)
            assert (first["event"], first["id"], json.loads(first["data"])["text"]) == ("log", "4", "one\n")
            write(state, taken, "two\n")
            assert json.loads(next(stream)["data"])["text"] == "two\n"
            write(state, taken, "three\n")
            finish(state, taken)
            assert [message["id"] for message in stream] == ["14"]
        resumed = client.get(path(taken), headers={**STREAM, "Last-Event-ID": "4"})
        assert [m["id"] for m in messages(iter(resumed.text.split("\n"))) if "id" in m] == ["8", "14"]
        assert client.get(path(taken), headers={**STREAM, "Last-Event-ID": "14"}).status_code == 204


def test_who_watches_is_counted(live: tuple[str, GatewayState], body: dict[str, Any]) -> None:
    with httpx.Client(base_url=live[0], trust_env=False, timeout=30) as client:
        client.post("/v1/jobs", json=body)
        taken = claim(live[1])
        write(live[1], taken, "one\n")
        with client.stream("GET", path(taken), headers=STREAM) as answer:
            stream = messages(answer.iter_lines())
            assert [next(stream).get("event") for _ in range(2)] == [None, "log"]
            assert "\nlayercut_event_watchers 1.0\n" in client.get("/metrics").text


def test_many_watchers_of_a_log_cost_one_question_a_change(state: GatewayState, taken: Claim) -> None:
    store = Counted(state)
    job_id = taken.lease.job_id

    async def watch() -> list[str]:
        feed = Feed(store, 0.02)  # type: ignore[arg-type]
        async with feed.running():
            head = await feed.head(store, job_id)  # type: ignore[arg-type]
            seen = [""] * 50

            async def follow(which: int) -> None:
                async for piece in feed.log(job_id, 0, head):
                    seen[which] += piece.text

            watchers = [asyncio.create_task(follow(which)) for which in range(50)]
            for number in range(3):
                await asyncio.to_thread(write, state, taken, f"{number}\n")
                while not all(len(text) == 2 * (number + 1) for text in seen):
                    await asyncio.sleep(0)
            await asyncio.to_thread(finish, state, taken)
            await asyncio.gather(*watchers)
            assert not feed._logs
            return seen

    assert asyncio.run(watch()) == ["0\n1\n2\n"] * 50
    assert store.asked["log"] == 3


def test_watchers_are_let_go_when_the_server_ends(state: GatewayState, taken: Claim) -> None:
    job_id = taken.lease.job_id
    write(state, taken, "one\n")

    async def watch() -> None:
        feed = Feed(state.store, 3600)
        async with feed.running():
            head = await feed.head(state.store, job_id)
            told, lines = feed.events(job_id, 0, head), feed.log(job_id, 0, head)
            assert [(await anext(told)).number for _ in range(2)] == [1, 2]
            assert (await anext(lines)).text == "one\n"
            waiting = [asyncio.ensure_future(anext(stream, None)) for stream in (told, lines)]
            changed = asyncio.create_task(feed.changed(state.store, job_id, 3600))
            while len(feed._channels) < 1 or feed._channels[job_id].watchers < 2:
                await asyncio.sleep(0)
            feed.stop()
            assert await asyncio.gather(*waiting) == [None, None]
            await changed

    asyncio.run(watch())
