"""The thread pool: probes see that it is stuck, and slow looks into models do not use it up."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from api_schemas.jobs import Job
from service.edge import liveness
from service.settings import GatewaySettings
from service.state import GatewayState
from store.jobs import JobStore


@pytest.fixture
def settings(settings: GatewaySettings) -> GatewaySettings:
    return settings.model_copy(update={"admission_threads": 2, "admission_seconds": 0.5})


def test_looks_that_hang_are_answered_and_stop_nobody_else(
    live: tuple[str, GatewayState], body: dict[str, Any], stuck: threading.Event
) -> None:
    url = live[0]
    with httpx.Client(base_url=url, trust_env=False) as client, ThreadPoolExecutor(60) as many:
        posts = [many.submit(client.post, "/v1/jobs", json=body) for _ in range(60)]
        started = time.monotonic()
        assert client.get("/v1/jobs").status_code == 200
        assert client.get("/healthz").status_code == 200
        assert time.monotonic() < started + 5
        answers = [post.result() for post in posts]
        assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(503, "too_busy")}
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)
        stuck.set()
        answer = client.post("/v1/jobs", json=body)
        assert answer.status_code == 202, answer.text


def test_that_no_thread_can_be_started_is_told_to_the_probe(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(liveness, "run_sync", refuse)
        answer = client.get("/healthz")
    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
    assert client.get("/healthz").status_code == 200


def test_a_stuck_pool_is_told_to_the_probe(
    client: TestClient, state: GatewayState, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    seen = threading.Semaphore(0)

    def hang(*_: object, **__: object) -> tuple[list[Job], bool]:
        seen.release()
        released.wait(30)
        return [], False

    monkeypatch.setattr(JobStore, "list", hang)
    with ThreadPoolExecutor(40) as many:
        for _ in range(40):
            many.submit(client.get, "/v1/jobs")
        for _ in range(40):
            assert seen.acquire(timeout=20)
        # A database that hangs holds them all as well, for its time.
        assert client.get("/healthz").status_code == 200
        state.liveness._stuck_seconds = 0
        answer = client.get("/healthz")
        released.set()
    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
    assert client.get("/healthz").status_code == 200
