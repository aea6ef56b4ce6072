"""A worker's own door: alive by loops that turn, its numbers, and nothing else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import httpx
import pytest

from tests.support.gateway_process import free_port
from workers.supervision import health_server
from workers.supervision.health_server import HealthServer, open_health_server
from workers.supervision.pulse import Pulse


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pulse(clock: Clock) -> Pulse:
    return Pulse(clock)


@pytest.fixture
def client(pulse: Pulse) -> Iterator[httpx.Client]:
    server = HealthServer("127.0.0.1", 0, pulse, lambda: b"layercut_worker_busy 0.0\n")
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False, timeout=10) as client:
        yield client
    server.close()


def test_it_lives_while_its_loops_turn(client: httpx.Client, pulse: Pulse, clock: Clock) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    pulse.beat("lease", 60)
    clock.now += 59
    assert client.get("/healthz").status_code == 200
    clock.now += 2
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()) == (503, {"status": "stuck", "seconds_since": {"lease": 61.0}})
    pulse.beat("lease", 60)
    assert client.get("/healthz").status_code == 200
    clock.now += 3600
    pulse.rest("lease")
    assert client.get("/healthz").status_code == 200


def test_it_tells_its_numbers_and_nothing_else(client: httpx.Client) -> None:
    answer = client.get("/metrics?x=1")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert answer.text == "layercut_worker_busy 0.0\n"
    assert client.get("/etc/passwd").status_code == 404
    assert client.post("/metrics").status_code == 501


def test_callers_that_say_nothing_hold_up_nobody(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    port = client.base_url.port
    silent = [socket.create_connection(("127.0.0.1", port or 0)) for _ in range(health_server.MOST - 1)]
    assert client.get("/healthz").status_code == 200
    for connection in silent:
        connection.close()


def test_it_answers_again_once_the_host_has_threads_again(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as without_threads:
        without_threads.setattr(threading.Thread, "start", refused)
        for _ in range(health_server.MOST):
            with pytest.raises(httpx.TransportError):
                client.get("/healthz")
    assert client.get("/healthz").status_code == 200


def test_a_worker_works_where_the_port_is_taken(pulse: Pulse) -> None:
    assert open_health_server("127.0.0.1", 0, pulse, bytes) is None
    with socket.socket() as other:
        other.bind(("127.0.0.1", free_port()))
        other.listen()
        assert open_health_server("127.0.0.1", other.getsockname()[1], pulse, bytes) is None
