"""Downloads on the wire, where the kernel sends the files: whole, in parts, broken off, and by clients of all kinds."""

from __future__ import annotations

import hashlib
import http.client
import os
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
from tests.support.gateway_worker import FILES, claim, succeed, unpack
from tests.support.processes import eventually

#: More than the system takes of a client that does not read.
LARGE = os.urandom(2**20) * 24

PATHS = ("files/vocab.txt", "download")

Ask = Callable[..., socket.socket]


@pytest.fixture(params=["folder", "objects"])
def stored(request: pytest.FixtureRequest) -> str:
    """Where artifacts are: in a folder, whose files the kernel sends, or where they are read ahead."""
    kind: str = request.param
    return kind


@pytest.fixture
def settings(settings: GatewaySettings, stored: str) -> GatewaySettings:
    values: dict[str, Any] = {"stall_seconds": 0.5}
    if stored == "objects":
        values["artifacts_url"] = "memory:///"
    return settings.model_copy(update=values)


@pytest.fixture
def job(live: tuple[str, GatewayState], body: dict[str, Any], tmp_path: Path) -> str:
    """The path of a finished job with a large file."""
    address, state = live
    posted = httpx.post(f"{address}/v1/jobs", json=body, trust_env=False).json()
    succeed(state, claim(state), tmp_path / "scratch", **{"vocab.txt": LARGE})
    return f"/v1/jobs/{posted['id']}"


@pytest.fixture
def ask(live: tuple[str, GatewayState], job: str) -> Iterator[Ask]:
    """Sends GETs of paths of the job in one piece, over one connection."""
    address = urlsplit(live[0])
    with ExitStack() as held:

        def asked(*paths: str, head: str = "", method: str = "GET") -> socket.socket:
            wire = socket.create_connection((address.hostname, address.port), timeout=30)
            held.enter_context(wire)
            requests = [f"{method} {job}/{path} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n" for path in paths]
            wire.sendall("".join(requests).encode())
            return wire

        yield asked


def answer(wire: socket.socket, method: str = "GET") -> tuple[http.client.HTTPResponse, bytes]:
    response = http.client.HTTPResponse(wire, method=method)
    response.begin()
    return response, response.read()


def rest_of(wire: socket.socket) -> bytes:
    parts = []
    try:
        while part := wire.recv(2**20):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def open_files() -> int:
    """Of this process: connections, and files of the store. Those to the database come and go by themselves."""
    found = 0
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # it was closed meanwhile
            leads = os.readlink(f"/proc/self/fd/{descriptor}")
            found += leads.startswith("socket:") or "/artifacts/" in leads
    return found


def test_all_of_it_comes(ask: Ask) -> None:
    tar, body = answer(ask("download"))
    assert unpack(body) == {**FILES, "vocab.txt": LARGE}
    assert tar.headers["ETag"] == f'"sha256-{hashlib.sha256(body).hexdigest()}"'
    assert int(tar.headers["Content-Length"]) == len(body)


def test_the_connection_goes_on_with_what_was_asked_meanwhile(ask: Ask) -> None:
    wire = ask("files/vocab.txt", "download", "files/README.md", "report")
    got = bytearray()
    while not got.endswith(FILES["report.json"]) or got.count(b"HTTP/1.1 200 ") < 4:
        got += wire.recv(2**20)
    assert got.count(LARGE) == 2


def test_parts_of_it_add_up(ask: Ask) -> None:
    whole = answer(ask("download"))[1]
    size = len(whole) // 7
    parts = []
    for start in range(0, len(whole), size):
        response, body = answer(ask("download", head=f"Range: bytes={start}-{start + size - 1}\r\n"))
        assert response.status == 206
        parts.append(body)
    assert b"".join(parts) == whole


def test_head_has_no_body(ask: Ask) -> None:
    wire = ask("download", method="HEAD")
    assert int(answer(wire, "HEAD")[0].headers["Content-Length"]) > len(LARGE)


def test_a_client_that_wants_the_connection_closed_has_it_closed_behind_the_file(ask: Ask) -> None:
    assert rest_of(ask("files/vocab.txt", head="Connection: close\r\n")).endswith(LARGE)


def test_a_slow_client_gets_all_of_it(ask: Ask) -> None:
    """With pauses that are shorter than one may be, and longer than that together."""
    wire = ask("files/vocab.txt")
    got = b""
    for _ in range(8):
        got += wire.recv(200_000)
        time.sleep(0.2)
    while len(got.partition(b"\r\n\r\n")[2]) < len(LARGE):
        got += wire.recv(2**20)
    assert got.endswith(LARGE)


def test_a_client_that_does_not_read_is_dropped(ask: Ask) -> None:
    before = open_files()
    wires = [ask(path) for path in PATHS]
    for wire in wires:
        assert wire.recv(100).startswith(b"HTTP/1.1 200 ")
    # The gateway is this process: what it had open for the clients is closed then.
    eventually(lambda: open_files() == before + len(wires))
    assert all(len(rest_of(wire)) < len(LARGE) for wire in wires)


def test_of_a_client_that_goes_nothing_is_left(ask: Ask) -> None:
    before = open_files()
    for wire in [ask(path) for path in PATHS]:
        assert wire.recv(100).startswith(b"HTTP/1.1 200 ")
        wire.close()
    eventually(lambda: open_files() == before)


folders_only = pytest.mark.parametrize("stored", ["folder"], indirect=True)


@folders_only
def test_what_is_deleted_meanwhile_comes_all_the_same(ask: Ask, live: tuple[str, GatewayState], job: str) -> None:
    state = live[1]
    whole = [answer(ask(path))[1] for path in PATHS]
    wires = [ask(path) for path in PATHS]
    begun = [wire.recv(100) for wire in wires]
    state.artifacts.delete(f"jobs/{job.rpartition('/')[2]}")
    assert list((state.settings.data_dir / "artifacts").rglob("*.txt")) == []
    for wire, got, expected in zip(wires, begun, whole, strict=True):
        while len(got.partition(b"\r\n\r\n")[2]) < len(expected):
            got += wire.recv(2**20)  # noqa: PLW2901
        assert got.endswith(expected)


@folders_only
def test_a_file_that_became_shorter_ends_the_connection(ask: Ask, live: tuple[str, GatewayState]) -> None:
    (file,) = (live[1].settings.data_dir / "artifacts").rglob("vocab.txt")
    os.truncate(file, len(LARGE) // 2)
    for path in PATHS:
        response = http.client.HTTPResponse(ask(path))
        response.begin()
        with pytest.raises(http.client.IncompleteRead):
            response.read()


@folders_only
def test_what_is_not_in_memory_is_read_first(ask: Ask, live: tuple[str, GatewayState]) -> None:
    (file,) = (live[1].settings.data_dir / "artifacts").rglob("vocab.txt")
    handle = os.open(file, os.O_RDONLY)
    os.fsync(handle)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)
    assert answer(ask("files/vocab.txt"))[1] == LARGE


@folders_only
def test_more_files_than_are_held_open_are_opened_one_by_one(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.reading.MAX_HELD", 2)
    assert unpack(answer(ask("download"))[1]) == {**FILES, "vocab.txt": LARGE}
