"""Bodies of uploads, on the wire: they may take as long as they go on, and what came of one that broke off is kept."""

from __future__ import annotations

import http.client
import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from service.settings import GatewaySettings
from service.state import GatewayState
from store.artifacts import ArtifactStore
from store.uploads import PART_BYTES
from tests.support.processes import eventually
from tests.support.uploading import CSV, announce, put

Connect = Callable[[], socket.socket]

ROWS = b"text,label\n" + b"a row that is learnt from,1\n" * 20_000
assert 2**19 < len(ROWS) < 2**20


@pytest.fixture
def settings(settings: GatewaySettings) -> GatewaySettings:
    quick = {"body_seconds": 0.5, "stall_seconds": 0.5, "uploads_at_once": 2, "max_connections": 16}
    return settings.model_copy(update=quick)


@pytest.fixture
def http_client(live: tuple[str, GatewayState]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live[0], trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
def connect(live: tuple[str, GatewayState]) -> Iterator[Connect]:
    address = urlsplit(live[0])
    with ExitStack() as held:
        yield lambda: held.enter_context(socket.create_connection((address.hostname, address.port), timeout=20))


def head_of_put(address: str, content: bytes, start: int = 0) -> bytes:
    return (
        f"PUT {address} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content) - start}\r\n"
        f"Content-Range: bytes {start}-{len(content) - 1}/{len(content)}\r\n\r\n"
    ).encode()


def answer_of(wire: socket.socket) -> tuple[int, dict[str, object]]:
    response = http.client.HTTPResponse(wire)
    response.begin()
    return response.status, json.loads(response.read())


def begun(client: httpx.Client, content: bytes = ROWS) -> str:
    """The address of a file that is to be sent."""
    return f"/v1/datasets/{announce(client, {'a.csv': content})}/files/a.csv"


def offset(client: httpx.Client, address: str) -> int:
    return int(client.head(address).headers["Upload-Offset"])


def test_one_that_keeps_coming_has_all_the_time_that_it_needs(http_client: httpx.Client, connect: Connect) -> None:
    address, wire, size = begun(http_client), connect(), len(ROWS) // 20 + 1
    wire.sendall(head_of_put(address, ROWS))
    for start in range(0, len(ROWS), size):  # for three times as long as any other body may take
        wire.sendall(ROWS[start : start + size])
        time.sleep(0.08)
    status, body = answer_of(wire)
    assert status == 200, body
    assert http_client.post(f"{address.rpartition('/files/')[0]}/complete").json()["status"] == "ready"


@pytest.mark.parametrize("drip", [0, 50])
def test_one_that_stalls_or_drips_is_ended_and_what_came_is_kept(
    http_client: httpx.Client, connect: Connect, drip: int
) -> None:
    address, wire = begun(http_client), connect()
    wire.sendall(head_of_put(address, ROWS) + ROWS[:100_000])
    with suppress(OSError):
        for at in range(100 if drip else 0):
            wire.sendall(ROWS[100_000 + at * drip :][:drip])
            time.sleep(0.02)
    status, body = answer_of(wire)
    assert (status, body["code"]) == (408, "request_timeout")
    kept = eventually(lambda: offset(http_client, address))
    assert 100_000 <= kept < len(ROWS)
    assert put(http_client, address, ROWS, kept).status_code == 200
    done = http_client.post(f"{address.rpartition('/files/')[0]}/complete").json()
    assert done["inspection"]["rows"] == 20_000


def test_any_other_body_has_its_time_still(connect: Connect) -> None:
    wire, began = connect(), time.monotonic()
    wire.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n\r\n{")
    while not select.select([wire], [], [], 0.05)[0]:  # until it is answered
        wire.sendall(b" " * 1000)
        assert time.monotonic() < began + 60, "it may go on for ever"
    status, body = answer_of(wire)
    assert (status, body["code"]) == (408, "request_timeout")


def test_a_connection_that_breaks_keeps_what_came(http_client: httpx.Client, connect: Connect) -> None:
    address, wire = begun(http_client), connect()
    wire.sendall(head_of_put(address, ROWS) + ROWS[:300_000])
    wire.shutdown(socket.SHUT_RDWR)
    wire.close()
    kept = eventually(lambda: offset(http_client, address))
    assert 0 < kept <= 300_000


def test_the_later_of_two_that_send_the_same_part_goes_on(
    http_client: httpx.Client, connect: Connect, live: tuple[str, GatewayState]
) -> None:
    address, half_dead = begun(http_client), connect()
    half_dead.sendall(head_of_put(address, ROWS) + ROWS[:100_000])
    eventually(lambda: live[1].upload_slots.taken == 1)  # it has begun its part
    assert http_client.put(address, content=ROWS).status_code == 200
    half_dead.sendall(ROWS[100_000:])
    status, body = answer_of(half_dead)
    assert (status, body["code"], body["offset"]) == (409, "upload_offset_mismatch", len(ROWS))


def test_a_form_that_breaks_off_leaves_nothing(
    http_client: httpx.Client, connect: Connect, live: tuple[str, GatewayState]
) -> None:
    wire = connect()
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n' + ROWS[:200_000]
    wire.sendall(
        b"POST /v1/datasets HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        b"Content-Length: 1000000\r\n\r\n" + head
    )
    shown = eventually(lambda: http_client.get("/v1/datasets").json()["data"])
    assert (shown[0]["status"], shown[0]["files"]) == ("uploading", [])
    wire.close()
    eventually(lambda: not http_client.get("/v1/datasets").json()["data"])
    root = Path(live[1].settings.artifacts_url.removeprefix("file://")) / "uploads"
    assert [path for path in root.rglob("*") if path.is_file()] == []


def test_no_more_are_received_at_once_than_there_are_slots(
    http_client: httpx.Client, connect: Connect, live: tuple[str, GatewayState]
) -> None:
    addresses = [begun(http_client) for _ in range(2)]
    for address in addresses:
        connect().sendall(head_of_put(address, ROWS) + ROWS[:100_000])
    # A request that is in flight has no slot yet.
    eventually(lambda: live[1].upload_slots.taken == 2)
    refused = http_client.post("/v1/datasets", files={"file": ("a.csv", CSV)})
    assert (refused.status_code, refused.json()["code"]) == (503, "too_busy")
    assert refused.headers["Retry-After"] == "5"
    assert http_client.get("/v1/datasets").status_code == 200, "others are served all the same"
    eventually(lambda: http_client.post("/v1/datasets", files={"file": ("a.csv", CSV)}).status_code == 201)


def test_a_store_that_hangs_is_not_the_clients_fault(
    http_client: httpx.Client, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, released = ArtifactStore.write, threading.Event()

    def hang(self: ArtifactStore, prefix: str, name: str, data: bytes) -> None:
        released.wait(20)
        written(self, prefix, name, data)

    monkeypatch.setattr(ArtifactStore, "write", hang)
    content = (ROWS * 40)[: 2 * PART_BYTES]
    address, wire = begun(http_client, content), connect()
    sending = threading.Thread(target=wire.sendall, args=(head_of_put(address, content) + content,))
    sending.start()
    time.sleep(2)  # four times as long as the client may be silent
    released.set()
    sending.join(20)
    status, body = answer_of(wire)
    assert status == 200, body
    assert offset(http_client, address) == len(content)


def test_one_that_is_refused_is_told_so_in_the_midst_of_its_body(http_client: httpx.Client, connect: Connect) -> None:
    wire = connect()
    wire.sendall(
        b"POST /v1/datasets HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        b"Content-Length: 9000000\r\n\r\n"
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.exe"\r\n\r\n' + bytes(2**21)
    )
    status, body = answer_of(wire)
    assert (status, body["code"]) == (422, "dataset_invalid")
