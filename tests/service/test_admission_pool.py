"""Looks into models and data wait in a bounded queue: in turn, for a while, and only as long as somebody waits."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.requests import ClientDisconnect

from api_schemas.errors import LayercutError
from api_schemas.tenants import Scope
from service.edge.admission_pool import AdmissionLimits, AdmissionPool
from service.settings import GatewaySettings
from service.state import GatewayState
from tests.support.access import bearer, key_of
from tests.support.processes import eventually

A, B, C = "team-a", "team-b", "team-c"
LIMITS = AdmissionLimits(threads=2, seconds=30, waiting=6, waiting_per_tenant=4)


async def never() -> None:
    await asyncio.Event().wait()


class Rig:
    """A pool whose looks wait until they are told to end, and are noted as they begin."""

    def __init__(self, limits: AdmissionLimits) -> None:
        self.pool = AdmissionPool(limits)
        self.begun: list[str] = []
        self.released: dict[str, threading.Event] = {}
        self.asked: dict[str, asyncio.Task[str]] = {}

    async def ask(self, *names: str, gone: Callable[[], Awaitable[object]] = never) -> None:
        """Ask for a look for each of ``names``: a tenant, and a number."""
        for name in names:
            self.released[name] = threading.Event()
            self.asked[name] = asyncio.create_task(self.pool.run(name.partition(" ")[0], gone, self._look, name))
        await asyncio.sleep(0)

    def _look(self, name: str) -> str:
        self.begun.append(name)
        assert self.released[name].wait(30)
        return name

    async def begins(self, *names: str) -> None:
        """Wait for the looks that have begun to be just these, in this order."""
        async with asyncio.timeout(10):
            while len(self.begun) < len(names):
                await asyncio.sleep(0.002)
        assert tuple(self.begun) == names

    async def end(self, name: str) -> None:
        self.released[name].set()
        assert await self.asked[name] == name

    async def refusal(self, name: str) -> LayercutError:
        with pytest.raises(LayercutError) as caught:
            await self.asked[name]
        return caught.value


def rigged(test: Callable[[Rig], Awaitable[None]], limits: AdmissionLimits = LIMITS) -> None:
    async def run() -> None:
        rig = Rig(limits)
        try:
            async with asyncio.timeout(20):
                await test(rig)
        finally:
            for released in rig.released.values():
                released.set()
            await asyncio.gather(*rig.asked.values(), return_exceptions=True)
            rig.pool.close()

    asyncio.run(run())


def test_one_tenant_fills_its_share_and_no_more() -> None:
    async def test(rig: Rig) -> None:
        await rig.ask(*(f"{A} {number}" for number in range(7)))
        refusals = [await rig.refusal(f"{A} {number}") for number in (5, 6)]
        assert {refusal.code for refusal in refusals} == {"quota_exceeded"}
        assert int(refusals[0].headers["Retry-After"]) > 0  # type: ignore[attr-defined]
        await rig.ask(f"{B} 0")
        await rig.begins(f"{A} 0", f"{B} 0")
        await rig.end(f"{B} 0")

    rigged(test)


def test_all_together_fill_the_queue_and_no_more() -> None:
    async def test(rig: Rig) -> None:
        await rig.ask(f"{A} 0", f"{B} 0", *(f"{tenant} {number}" for tenant in (A, B, C) for number in (1, 2)))
        await rig.ask(f"{C} 3")
        assert (await rig.refusal(f"{C} 3")).code == "too_busy"
        await rig.end(f"{A} 0")
        await rig.ask(f"{C} 4")
        assert not rig.asked[f"{C} 4"].done(), "a place is free again"

    rigged(test)


def test_tenants_are_served_in_turn() -> None:
    async def test(rig: Rig) -> None:
        await rig.ask(*(f"{A} {number}" for number in range(4)))
        await rig.ask(f"{B} 0", f"{B} 1", f"{C} 0", f"{C} 1")
        begun = [f"{A} 0", f"{B} 0"]
        await rig.begins(*begun)
        turns = ((f"{A} 0", f"{A} 1"), (f"{B} 0", f"{B} 1"), (f"{A} 1", f"{C} 0"), (f"{B} 1", f"{A} 2"))
        for ends, begins in (*turns, (f"{C} 0", f"{C} 1"), (f"{A} 2", f"{A} 3")):
            await rig.end(ends)
            begun.append(begins)
            await rig.begins(*begun)

    rigged(test)


def test_a_tenant_whose_looks_hang_leaves_a_thread_for_the_others() -> None:
    async def test(rig: Rig) -> None:
        await rig.ask(*(f"{A} {number}" for number in range(4)))
        for number in range(3):
            await rig.ask(f"{B} {number}")
            await rig.end(f"{B} {number}")
        assert [name for name in rig.begun if name.startswith(A)] == [f"{A} 0"]

    rigged(test)


def test_one_thread_is_everybodys() -> None:
    async def test(rig: Rig) -> None:
        await rig.ask(f"{A} 0", f"{A} 1", f"{A} 2", f"{B} 0")
        await rig.end(f"{A} 0")
        await rig.end(f"{A} 1")
        await rig.begins(f"{A} 0", f"{A} 1", f"{B} 0")

    rigged(test, AdmissionLimits(threads=1, seconds=30, waiting=6, waiting_per_tenant=4))


def test_one_tenant_alone_has_all_threads_and_places() -> None:
    async def test(rig: Rig) -> None:
        await rig.ask(*(f"{A} {number}" for number in range(8)))
        await rig.begins(f"{A} 0", f"{A} 1")
        assert rig.pool.waiting == 6
        await rig.ask(f"{A} 8")
        assert (await rig.refusal(f"{A} 8")).code == "too_busy"

    rigged(test, AdmissionLimits(threads=2, seconds=30, waiting=6, waiting_per_tenant=4, one_tenant=True))


def test_a_thread_that_cannot_start_costs_one_look_and_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(rig: Rig) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_thread)
            for number in range(3):
                await rig.ask(f"{A} {number}")
                assert (await rig.refusal(f"{A} {number}")).code == "too_busy"
        await rig.ask(f"{A} 3")
        await rig.begins(f"{A} 3")
        await rig.end(f"{A} 3")

    rigged(test)


def no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_who_went_away_leaves_a_place_and_is_not_looked_for() -> None:
    async def test(rig: Rig) -> None:
        leaves = asyncio.Event()
        await rig.ask(f"{A} 0")
        await rig.ask(*(f"{A} {number}" for number in range(1, 5)), gone=leaves.wait)
        assert rig.pool.waiting == 4
        leaves.set()
        for number in range(1, 5):
            with pytest.raises(ClientDisconnect):
                await rig.asked[f"{A} {number}"]
        assert rig.pool.waiting == 0
        await rig.ask(f"{A} 5")
        await rig.end(f"{A} 0")
        await rig.begins(f"{A} 0", f"{A} 5")

    rigged(test)


def test_a_cancelled_request_leaves_a_place() -> None:
    async def test(rig: Rig) -> None:
        await rig.ask(f"{A} 0", f"{A} 1")
        rig.asked[f"{A} 1"].cancel()
        await asyncio.gather(rig.asked[f"{A} 1"], return_exceptions=True)
        assert rig.pool.waiting == 0

    rigged(test)


def test_a_wait_has_an_end() -> None:
    async def test(rig: Rig) -> None:
        await rig.ask(f"{A} 0", f"{A} 1")
        for number in range(2):
            assert (await rig.refusal(f"{A} {number}")).code == "too_busy"
        assert rig.pool.waiting == 0
        # The first still has its thread: it cannot be stopped. The second never began.
        await rig.ask(f"{A} 2")
        rig.released[f"{A} 0"].set()
        await rig.begins(f"{A} 0", f"{A} 2")
        await rig.end(f"{A} 2")

    rigged(test, AdmissionLimits(threads=2, seconds=0.3, waiting=6, waiting_per_tenant=4))


def test_what_a_look_raises_is_raised() -> None:
    async def test(rig: Rig) -> None:
        def fail() -> None:
            raise LayercutError("model_not_found", "there is none")

        for _ in range(3):
            with pytest.raises(LayercutError, match="there is none"):
                await rig.pool.run(A, never, fail)

    rigged(test)


# --- over HTTP


@pytest.fixture
def settings(settings: GatewaySettings) -> GatewaySettings:
    few = {"admission_threads": 2, "admission_queue": 6, "admission_queue_per_tenant": 4}
    return settings.model_copy(update={**few, "auth": "on"})


def test_a_crowd_of_one_tenant_is_told_to_come_again_and_another_is_served(
    live: tuple[str, GatewayState], body: dict[str, Any], stuck: threading.Event
) -> None:
    url, state = live
    mine, other = bearer(key_of(state, A, Scope.SUBMIT)), bearer(key_of(state, B, Scope.SUBMIT))
    with httpx.Client(base_url=url, trust_env=False) as client, ThreadPoolExecutor(20) as many:
        posts = [many.submit(client.post, "/v1/jobs", json=body, headers=mine) for _ in range(20)]
        eventually(lambda: sum(post.done() for post in posts) == 15)
        answers = [post.result() for post in posts if post.done()]
        assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(429, "quota_exceeded")}
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)
        theirs = many.submit(client.post, "/v1/jobs", json=body, headers=other)
        plan = many.submit(client.post, "/v1/plans", json={"model": body["model"]}, headers=mine)
        assert plan.result().status_code == 429, "plans wait in the same queue"
        stuck.set()
        assert theirs.result().status_code == 202
        assert sorted(post.result().status_code for post in posts) == [202] * 5 + [429] * 15


def test_a_client_that_goes_away_frees_its_place(
    live: tuple[str, GatewayState], body: dict[str, Any], stuck: threading.Event
) -> None:
    url, state = live
    address, key = urlsplit(url), bearer(key_of(state, A, Scope.SUBMIT))
    content = json.dumps(body).encode()
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: {key['Authorization']}\r\n"
    sent = f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content
    lines = [socket.create_connection((address.hostname or "", address.port or 0), timeout=30) for _ in range(5)]
    for line in lines:
        line.sendall(sent)
    eventually(lambda: state.admissions.waiting == 4)
    for line in lines:
        line.close()
    eventually(lambda: state.admissions.waiting == 0)
    stuck.set()
    answer = httpx.get(f"{url}/v1/jobs", headers=key, trust_env=False)
    assert answer.json()["data"] == [], "whoever went away has asked for nothing"
