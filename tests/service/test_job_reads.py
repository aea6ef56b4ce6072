"""One job for many who ask: few questions, fresh answers, and nobody waits behind a database that hangs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from api_schemas.errors import LayercutError
from api_schemas.jobs import Job, Status
from service.job_reads import JobReads
from service.state import GatewayState
from tests.support.gateway_worker import claim
from tests.support.processes import eventually

NOBODY = "job_000000000000000000000000"
TENANT = "default"


class Slow:
    """The store, with a count of its questions; those named in ``hanging`` wait until ``released``."""

    def __init__(self, state: GatewayState) -> None:
        self._store = state.store
        self.asked: list[set[str]] = []
        self.hanging: set[str] = set()
        self.began, self.released = threading.Event(), threading.Event()

    def get_few(self, job_ids: Collection[str]) -> dict[str, tuple[str, Job]]:
        self.asked.append(set(job_ids))
        if self.hanging & set(job_ids):
            self.began.set()
            assert self.released.wait(30)
        return self._store.get_few(job_ids)


@pytest.fixture
def ids(client: TestClient, body: dict[str, Any]) -> list[str]:
    return [client.post("/v1/jobs", json=body).json()["id"] for _ in range(3)]


def test_those_who_ask_together_share_one_question(state: GatewayState, ids: list[str]) -> None:
    store = Slow(state)

    async def ask() -> list[Job]:
        reads = JobReads(store)  # type: ignore[arg-type]
        try:
            return await asyncio.gather(*(reads.get(job_id, TENANT) for job_id in ids * 10))
        finally:
            reads.close()

    found = asyncio.run(ask())
    assert [job.id for job in found] == ids * 10
    assert [job.progress.queue_position for job in found[:3]] == [1, 2, 3]
    assert store.asked == [set(ids)]


def test_a_question_that_hangs_holds_nobody_up(state: GatewayState, ids: list[str]) -> None:
    store = Slow(state)
    store.hanging = {ids[0]}

    async def ask() -> None:
        reads = JobReads(store)  # type: ignore[arg-type]
        try:
            stuck = asyncio.create_task(reads.get(ids[0], TENANT))
            await asyncio.to_thread(store.began.wait, 30)
            assert (await reads.get(ids[1], TENANT)).id == ids[1]
            assert not stuck.done()
            store.released.set()
            assert (await stuck).id == ids[0]
        finally:
            store.released.set()
            reads.close()

    asyncio.run(ask())


def test_behind_a_database_that_hangs_a_crowd_waits_for_two_questions(state: GatewayState, ids: list[str]) -> None:
    """Each takes the database's own time limit: a third would be later than is promised."""
    store = Slow(state)
    crowd = [f"{ids[0][:-3]}{number:03}" for number in range(500)]
    store.hanging = set(crowd)

    async def ask() -> None:
        reads = JobReads(store)  # type: ignore[arg-type]
        try:
            asked = [asyncio.create_task(reads.get(job_id, TENANT)) for job_id in crowd for _ in range(2)]
            await asyncio.to_thread(eventually, lambda: len(store.asked) == 2)
            store.released.set()
            await asyncio.gather(*asked, return_exceptions=True)
        finally:
            store.released.set()
            reads.close()

    asyncio.run(ask())
    assert [len(question) for question in store.asked] == [64, 436]


def test_what_the_database_raises_reaches_each_and_the_next_is_asked_again(
    state: GatewayState, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    away = OperationalError("SELECT 1", {}, ConnectionError("the database is away"))

    async def ask() -> None:
        reads = JobReads(state.store)
        try:
            with monkeypatch.context() as patched:
                patched.setattr("store.jobs.read_few_jobs", lambda *_: (_ for _ in ()).throw(away))
                found = await asyncio.gather(*(reads.get(job_id, TENANT) for job_id in ids), return_exceptions=True)
                assert found == [away] * 3
            gone = asyncio.create_task(reads.get(ids[0], TENANT))
            await asyncio.sleep(0)
            gone.cancel()
            assert (await reads.get(ids[1], TENANT)).id == ids[1]
        finally:
            reads.close()

    asyncio.run(ask())


def test_a_row_that_cannot_be_read_costs_no_other_its_answer(state: GatewayState, ids: list[str]) -> None:
    with state.engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET progress = '[]' WHERE id = :id"), {"id": ids[1]})

    async def ask() -> list[Job | BaseException]:
        reads = JobReads(state.store)
        try:
            return await asyncio.gather(*(reads.get(job_id, TENANT) for job_id in ids), return_exceptions=True)
        finally:
            reads.close()

    first, broken, third = asyncio.run(ask())
    assert [job.id for job in (first, third) if isinstance(job, Job)] == [ids[0], ids[2]]
    assert isinstance(broken, TypeError)


def test_where_no_thread_can_be_had_nobody_waits_for_one(state: GatewayState, ids: list[str]) -> None:
    async def ask() -> None:
        reads = JobReads(state.store)
        reads.close()
        for _ in range(2):
            with pytest.raises(LayercutError) as refused:
                await asyncio.wait_for(reads.get(ids[0], TENANT), 20)
            assert refused.value.code == "too_busy"

    asyncio.run(ask())


def test_anothers_job_is_not_there(state: GatewayState, ids: list[str]) -> None:
    async def ask() -> None:
        reads = JobReads(state.store)
        try:
            for job_id, tenant in ((ids[0], "team-b"), (NOBODY, TENANT)):
                with pytest.raises(LayercutError) as refused:
                    await reads.get(job_id, tenant)
                assert (refused.value.code, refused.value.message) == (
                    "job_not_found", f"there is no job {job_id!r}",
                )  # fmt: skip
        finally:
            reads.close()

    asyncio.run(ask())


def test_an_answer_is_never_old(client: TestClient, state: GatewayState, ids: list[str]) -> None:
    def look(job_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = client.get(f"/v1/jobs/{job_id}").json()
        return answer

    assert [look(job_id)["progress"]["queue_position"] for job_id in ids] == [1, 2, 3]
    taken = claim(state)
    assert look(ids[0])["status"] == "running"
    assert [look(job_id)["progress"]["queue_position"] for job_id in ids] == [None, 1, 2]
    state.store.release(taken.lease, "gone")
    assert look(ids[0])["status"] == Status.QUEUED
    with state.engine.begin() as connection:
        connection.execute(
            text('UPDATE jobs SET resolved = \'{"from": "another version"}\' WHERE id = :id'), {"id": ids[0]}
        )
    assert look(ids[0])["resolved"] is None


def test_what_is_answered_is_what_the_list_has(client: TestClient, ids: list[str]) -> None:
    listed = client.get("/v1/jobs").json()["data"]
    one: list[httpx.Response] = [client.get(f"/v1/jobs/{job['id']}") for job in listed]
    assert [answer.json() for answer in one] == listed
    assert {answer.headers["content-type"] for answer in one} == {"application/json"}
