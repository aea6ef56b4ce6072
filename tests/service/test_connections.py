"""Connections, on the wire: how long each may take, how many there may be, and heads that mean two things."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from service.settings import GatewaySettings
from service.state import GatewayState
from tests.support.gateway_worker import claim, succeed

Connect = Callable[[], socket.socket]

OK_HEAD = b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n"
HALF_HEAD = b"GET /version HTTP/1.1\r\nHost: lo"
HALF_BODY = b'POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{"model"'


@pytest.fixture
def head_seconds() -> float:
    return 0.4


@pytest.fixture
def settings(settings: GatewaySettings, head_seconds: float) -> GatewaySettings:
    quick = {
        "head_seconds": head_seconds,
        "body_seconds": 2.0,
        "stall_seconds": 0.4,
        "idle_seconds": 1.0,
        "max_connections": 16,
    }
    quick["max_connections_per_address"] = 4
    return settings.model_copy(update=quick)


@pytest.fixture
def connect(live: tuple[str, GatewayState]) -> Iterator[Connect]:
    address = urlsplit(live[0])
    with ExitStack() as held:
        yield lambda: held.enter_context(socket.create_connection((address.hostname, address.port), timeout=10))


def rest_of(wire: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    parts = []
    try:
        while part := wire.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def answer_of(wire: socket.socket) -> tuple[int, bytes]:
    """Status and body of the answer that comes next."""
    response = http.client.HTTPResponse(wire)
    response.begin()
    return response.status, response.read()


def answered(wire: socket.socket) -> tuple[int, str]:
    """Status and code of a problem that ends the connection."""
    head, _, body = rest_of(wire).partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    assert b"x-content-type-options: nosniff" in head
    return int(head.split()[1]), json.loads(body)["code"]


@pytest.mark.parametrize("sent", [HALF_HEAD, HALF_BODY])
def test_half_a_request_is_ended(connect: Connect, sent: bytes) -> None:
    wire = connect()
    wire.sendall(sent)
    assert answered(wire) == (408, "request_timeout")


def test_a_connection_that_says_nothing_is_ended(connect: Connect) -> None:
    assert answered(connect()) == (408, "request_timeout")


def test_a_head_that_drips_has_no_longer(connect: Connect) -> None:
    wire, started = connect(), time.monotonic()
    wire.sendall(HALF_HEAD)
    with suppress(OSError):  # a broken pipe or a reset, as it comes
        while time.monotonic() < started + 9:
            wire.sendall(b"o")
            time.sleep(0.05)
    assert time.monotonic() < started + 5


def test_a_body_that_keeps_coming_is_read_to_its_end(connect: Connect) -> None:
    wire = connect()
    wire.sendall(HALF_BODY[: -len(b'{"model"')])
    for _ in range(10):  # longer together than any pause may be
        wire.sendall(b" " * 100)
        time.sleep(0.07)
    assert wire.recv(65536).startswith(b"HTTP/1.1 400 ")  # an empty body, whole


def test_a_connection_is_kept_for_the_next_request_and_not_for_ever(connect: Connect) -> None:
    wire = connect()
    for _ in range(3):
        wire.sendall(OK_HEAD)
        assert answer_of(wire)[0] == 200
        time.sleep(0.5)  # longer than a head may take
    started = time.monotonic()
    assert rest_of(wire) == b""
    assert time.monotonic() < started + 5


def test_the_oldest_half_request_makes_room_for_a_new_one(connect: Connect) -> None:
    half = [connect() for _ in range(16)]
    for wire in half:
        wire.sendall(HALF_HEAD)
    new = connect()
    new.sendall(OK_HEAD)
    assert new.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert rest_of(half[0]) == b""


@pytest.fixture
def watch(live: tuple[str, GatewayState]) -> Iterator[Callable[[], socket.socket]]:
    """Opens a stream of events that has begun, and goes on."""
    job = {"model": "google-bert/bert-base-uncased", "task": "sst2"}
    job_id = httpx.post(f"{live[0]}/v1/jobs", json=job, trust_env=False).json()["id"]
    address = urlsplit(live[0])

    def watching() -> socket.socket:
        wire = held.enter_context(socket.create_connection((address.hostname, address.port), timeout=30))
        head = f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
        wire.sendall(head.encode())
        assert wire.recv(65536).startswith(b"HTTP/1.1 200 ")
        return wire

    with ExitStack() as held:
        yield watching


# Sixteen heads on a busy machine take their time.
PATIENT = pytest.mark.parametrize("head_seconds", [30.0])


@PATIENT
def test_clients_that_wait_for_answers_are_not_closed_for_a_new_one_of_their_host(
    connect: Connect, watch: Callable[[], socket.socket]
) -> None:
    watching = [watch() for _ in range(16)]
    assert answered(connect()) == (503, "too_busy")
    watching[0].settimeout(0.2)
    with pytest.raises(TimeoutError):  # still open, with nothing more to say
        rest_of(watching[0])


@PATIENT
def test_no_host_keeps_others_out_by_whole_requests(
    live: tuple[str, GatewayState], watch: Callable[[], socket.socket]
) -> None:
    watching = [watch() for _ in range(16)]
    address = urlsplit(live[0])
    # All of 127.0.0.0/8 is this machine.
    with socket.create_connection((address.hostname, address.port), 30, source_address=("127.0.0.2", 0)) as other:
        other.sendall(OK_HEAD)
        assert answer_of(other)[0] == 200
    rest_of(watching[0])  # which has ended


GET = b"GET /version HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /v1/plans HTTP/1.1\r\nHost: localhost\r\n"


def test_a_client_that_does_not_read_its_answer_is_closed(
    connect: Connect, live: tuple[str, GatewayState], body: dict[str, Any], tmp_path: Path
) -> None:
    state = live[1]
    job_id = httpx.post(f"{live[0]}/v1/jobs", json=body, trust_env=False).json()["id"]
    succeed(state, claim(state), tmp_path / "scratch", **{"large.bin": bytes(32 * 2**20)})
    wire = connect()
    wire.sendall(f"GET /v1/jobs/{job_id}/files/large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    time.sleep(1.5)
    assert len(rest_of(wire)) < 32 * 2**20, "what the system had taken already, and no more"


def test_one_address_may_have_so_many(
    connect: Connect, live: tuple[str, GatewayState], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.edge.connections.is_loopback", lambda address: False)
    half = [connect() for _ in range(4)]
    for wire in half:
        wire.sendall(HALF_HEAD)
    new = connect()
    new.sendall(OK_HEAD)
    assert answer_of(new)[0] == 200
    assert rest_of(half[0]) == b""


def test_a_body_that_goes_on_after_its_answer_is_not_read_for_ever(connect: Connect) -> None:
    wire, started = connect(), time.monotonic()
    wire.sendall(b"GET /version HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert answer_of(wire)[0] == 200
    with suppress(OSError):
        while time.monotonic() < started + 9:
            wire.sendall(b"1\r\na\r\n" * 100)
            time.sleep(0.05)
    assert time.monotonic() < started + 6


TWO_MEANINGS = (
    POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + OK_HEAD,
    POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + OK_HEAD,
    POST + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\n{}  " + OK_HEAD,
    POST + b"Content-Length: 4\r\nContent-Length: 2\r\n\r\n{}  " + OK_HEAD,
    POST + b"Content-Length: 4, 4\r\n\r\n{}  " + OK_HEAD,
    POST + b"Content-Length: +4\r\n\r\n{}  " + OK_HEAD,
    POST + b"Content-Length: -1\r\n\r\n" + OK_HEAD,
    POST + b"Content-Length: 0x4\r\n\r\n{}  " + OK_HEAD,
    POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}",
    POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + OK_HEAD,
    POST + b"Transfer-Encoding: identity\r\n\r\n" + OK_HEAD,
    POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + OK_HEAD,
    POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + OK_HEAD,
    POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + OK_HEAD,
    POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + OK_HEAD,
    GET + b"X-Folded: a\r\n b\r\n\r\n" + OK_HEAD,
    GET + b"X-Tab: a\r\n\tTransfer-Encoding: chunked\r\n\r\n" + OK_HEAD,
    GET + b"X-Bare: a\nContent-Length: 4\r\n\r\n" + OK_HEAD,
    GET + b"X-Return: a\rb\r\n\r\n" + OK_HEAD,
    GET + b"X-Nul: a\x00b\r\n\r\n" + OK_HEAD,
    GET + b"Host: other\r\n\r\n" + OK_HEAD,
    b"GET /version HTTP/1.1\r\n\r\n" + OK_HEAD,
    b"GET  /version HTTP/1.1\r\nHost: localhost\r\n\r\n" + OK_HEAD,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\0" * 100,
)


def test_a_head_that_can_be_read_in_two_ways_ends_the_connection(connect: Connect) -> None:
    for head in TWO_MEANINGS:
        wire = connect()
        wire.sendall(head)
        text = rest_of(wire)
        assert text.startswith(b"HTTP/1.1 400 "), head
        assert text.count(b"HTTP/1.1 ") == 1, f"what follows it was read as a request: {head!r}"
        assert b"connection: close" in text


TOO_LARGE = (
    GET + b"X-Large: " + b"a" * 20_000,
    GET + b"X-Large: " + b"a" * 200_000 + b"\r\n\r\n",
    GET + b"".join(b"X-%d: a\r\n" % number for number in range(200)) + b"\r\n",
    b"GET /" + b"a" * 20_000,
)


def test_a_head_that_is_too_large_ends_the_connection(connect: Connect) -> None:
    for head in TOO_LARGE:
        wire = connect()
        wire.sendall(head)
        assert rest_of(wire).startswith(b"HTTP/1.1 431 "), head[:80]


def test_a_bad_chunk_ends_the_connection(connect: Connect) -> None:
    wire = connect()
    wire.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + OK_HEAD)
    text = rest_of(wire)
    assert text.startswith(b"HTTP/1.1 400 ")
    assert text.count(b"HTTP/1.1 ") == 1


def test_requests_one_after_the_other_in_one_piece_are_all_answered(connect: Connect) -> None:
    wire = connect()
    wire.sendall(OK_HEAD * 3)
    text = b""
    while text.count(b"HTTP/1.1 200 ") < 3:
        text += wire.recv(65536)
