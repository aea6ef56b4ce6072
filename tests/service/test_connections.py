"""Connections, on the wire: how long each may take, how many there may be, and heads that mean two things."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import pytest

from service.settings import GatewaySettings
from service.state import GatewayState

Connect = Callable[[], socket.socket]

OK_HEAD = b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n"
HALF_HEAD = b"GET /version HTTP/1.1\r\nHost: lo"
HALF_BODY = b'POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{"model"'


@pytest.fixture
def settings(settings: GatewaySettings) -> GatewaySettings:
    quick = {"head_seconds": 0.4, "body_seconds": 2.0, "stall_seconds": 0.4, "idle_seconds": 1.0, "max_connections": 16}
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


def test_clients_that_wait_for_answers_are_not_closed_for_a_new_one(
    connect: Connect, live: tuple[str, GatewayState]
) -> None:
    watch = b"GET /v1/jobs/%s/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
    job = connect()
    body = b'{"model": "google-bert/bert-base-uncased", "task": "sst2"}'
    job.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    job_id = json.loads(answer_of(job)[1])["id"].encode()
    watching = [job, *(connect() for _ in range(15))]
    for wire in watching:
        wire.sendall(watch % job_id)
        assert wire.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert answered(connect()) == (503, "too_busy")
    watching[0].settimeout(0.2)
    with pytest.raises(TimeoutError):  # still open, with nothing more to say
        rest_of(watching[0])


GET = b"GET /version HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /v1/plans HTTP/1.1\r\nHost: localhost\r\n"


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
