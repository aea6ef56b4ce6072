"""Thousands of requests that never end: whoever sends a whole one is answered at once, all the while."""

from __future__ import annotations

import http.client
import resource
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import httpx
import pytest

from tests.support.gateway_process import gateway_process

pytestmark = pytest.mark.attack

HEADS, BODIES = 2000, 300
HALF_HEAD = b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
HALF_BODY = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n{"


@pytest.fixture
def descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("descriptors")
def test_a_job_is_shown_within_a_second_among_half_requests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with gateway_process(tmp_path, glue_dir="") as port, ExitStack() as held:
        job = httpx.post(
            f"http://127.0.0.1:{port}/v1/jobs", json={"model": "google-bert/bert-base-uncased", "task": "sst2"},
            trust_env=False,
        ).json()  # fmt: skip
        path = job["urls"]["self"]
        took = [_get(port, path)]
        waiting: list[socket.socket] = []
        for number in range(HEADS + BODIES):
            wire = held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            wire.sendall(HALF_BODY if number % 7 == 6 and number // 7 < BODIES else HALF_HEAD)
            waiting.append(wire)
            if number % 50 == 0:
                took.append(_get(port, path))
        ends = time.monotonic() + 8
        while time.monotonic() < ends:
            took.append(_get(port, path))
            for wire in waiting[:: len(waiting) // 100]:  # some go on, a byte at a time
                _drip(wire)
        with capsys.disabled():
            print(
                f"\n{len(took)} GET of a job among {HEADS} half heads and {BODIES} half bodies:"
                f" median {statistics.median(took) * 1000:.0f} ms, worst {max(took) * 1000:.0f} ms"
            )
        assert max(took) < 1


def _get(port: int, path: str) -> float:
    """Seconds that a new client needs, its connection too."""
    started = time.perf_counter()
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as client:
        client.request("GET", path)
        answer = client.getresponse()
        answer.read()
        assert answer.status == httpx.codes.OK
    return time.perf_counter() - started


def _drip(wire: socket.socket) -> None:
    with suppress(OSError):  # closed by the gateway, as it should be
        wire.sendall(b"a")
