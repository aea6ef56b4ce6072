"""What counts as a body: how curl sends it, what JSON is, how much of it."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient

from service.state import GatewayState

TEN_MEGABYTES = 10_000_000


@pytest.mark.parametrize(
    "media_type",
    [
        "application/x-www-form-urlencoded",  # curl -d
        "application/json",
        "application/json; charset=utf-8",
        "application/vnd.acme+json",
        "text/plain;charset=UTF-8",  # fetch() with a string
        None,
    ],
)
def test_json_is_read_whatever_simple_type_it_is_sent_as(
    client: TestClient, body: dict[str, Any], media_type: str | None
) -> None:
    headers = {"Content-Type": media_type} if media_type else {}
    assert client.post("/v1/jobs", content=json.dumps(body), headers=headers).status_code == 202


@pytest.mark.parametrize("media_type", ["multipart/form-data; boundary=x", "application/xml", "image/png"])
def test_other_types_are_refused(client: TestClient, body: dict[str, Any], media_type: str) -> None:
    answer = client.post("/v1/jobs", content=json.dumps(body), headers={"Content-Type": media_type})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "empty"),
        (b"model=bert&task=sst2", "not JSON"),
        (b'{"model": "a",\n "task"}', "line 2 column 8"),
        (b'["model"]', "JSON object"),
        (b'{"model": "\xff"}', "UTF-8"),
        (b'{"seed": NaN}', "NaN"),
        (b'{"prune": {"threshold": 1e999}}', "too large"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "digits"),
        (b"[" * 5_000, "nested"),
        (b'{"model":' * 40 + b"1" + b"}" * 40, "32 deep"),
        (b'{"model": "a\\u0000b"}', "NUL"),
        (b'{"model": "\\ud800"}', "surrogate"),
    ],
)
def test_what_is_no_json_object_is_refused(client: TestClient, raw: bytes, said: str) -> None:
    answer = client.post("/v1/jobs", content=raw)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")
    assert said in answer.json()["detail"]


def test_ten_megabytes_are_refused(client: TestClient) -> None:
    answer = client.post("/v1/jobs", content=b'{"suffix": "' + b"a" * TEN_MEGABYTES + b'"}')
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_body_of_unknown_length_is_counted_as_it_comes(client: TestClient) -> None:
    answer = client.post("/v1/jobs", content=(b" " * 65536 for _ in range(TEN_MEGABYTES // 65536)))
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")


def test_a_large_body_is_refused_before_it_is_sent(live: tuple[str, GatewayState]) -> None:
    """On the wire: the answer comes while not one byte of the body was sent."""
    address = urlsplit(live[0])
    assert address.hostname
    assert address.port
    with socket.create_connection((address.hostname, address.port), timeout=30) as wire:
        head = f"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: {TEN_MEGABYTES}\r\n\r\n"
        wire.sendall(head.encode())
        assert wire.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_large_body_without_a_length_is_refused_while_it_is_sent(live: tuple[str, GatewayState]) -> None:
    address = urlsplit(live[0])
    assert address.hostname
    assert address.port
    with socket.create_connection((address.hostname, address.port), timeout=30) as wire:
        wire.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b" " * 65536
        for _ in range(17):  # just above one MiB; the last chunk is never sent
            wire.sendall(b"10000\r\n" + chunk + b"\r\n")
        assert wire.recv(65536).startswith(b"HTTP/1.1 413 ")
