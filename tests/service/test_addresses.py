"""Addresses, headers and bodies of odd content and size: a 4xx that says why, and little work."""

from __future__ import annotations

import json
import time

import pytest
from fastapi.testclient import TestClient


@pytest.mark.parametrize(
    "address",
    [
        "/v1/jobs/%00",
        "/v1/jobs/job%00x/events",
        "/v1/jobs?after=%00",
        "/v1/jobs?task=a%00b",
        "/v1/jobs?metadata[a]=%00",
        "/v1/jobs?metadata[%00]=a",
        "/problems/%00",
        "/%00",
    ],
)
def test_a_nul_in_an_address_is_refused(refusing: TestClient, address: str) -> None:
    answer = refusing.get(address)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")


@pytest.mark.parametrize(
    "address",
    ["/v1/jobs/%ED%A0%80", "/v1/jobs/%FF", "/v1/jobs/%F0%9F%98%80", "/v1/jobs/" + "a" * 1500, "/problems/" + "é" * 300],
)
def test_an_odd_address_is_not_found(refusing: TestClient, address: str) -> None:
    answer = refusing.get(address)
    assert answer.status_code == 404
    assert len(answer.content) < 1500


@pytest.mark.parametrize("address", ["/v1/jobs/" + "a" * 3000, "/v1/jobs?task=" + "a" * 9000, "/" + "%41" * 4000])
def test_an_address_that_is_too_long_is_refused(refusing: TestClient, address: str) -> None:
    answer = refusing.get(address)
    assert (answer.status_code, answer.json()["code"]) == (414, "uri_too_long")
    assert len(answer.content) < 1000


def test_half_of_a_surrogate_in_a_query_is_a_text_like_another(refusing: TestClient) -> None:
    for value in ("%ED%A0%80", "%FF", "%C0%80"):
        assert refusing.get(f"/v1/jobs?task={value}&metadata[a]={value}").json()["data"] == []


@pytest.mark.parametrize(
    "query",
    [
        "&".join(f"metadata[k{number}]=v" for number in range(17)),
        "metadata=junk",
        "metadata[]=x",
        "metadata[a]=1&metadata[a]=2",
        "metadata[" + "k" * 65 + "]=v",
    ],
)
def test_filters_that_no_job_could_meet_are_refused(refusing: TestClient, query: str) -> None:
    answer = refusing.get(f"/v1/jobs?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert answer.json()["errors"][0]["pointer"] == "metadata"


def test_as_many_filters_as_a_job_has_pairs_are_taken(refusing: TestClient) -> None:
    query = "&".join(f"metadata[k {number}]=v" for number in range(16))
    assert refusing.get(f"/v1/jobs?{query}").status_code == 200


RANGES = {
    "bytes=": 200,
    "bytes=-": 200,
    "bytes=a-b": 200,
    "bytes=0-" + "9" * 5000: 206,
    "bytes=" + "9" * 5000 + "-": 416,
    "bytes=-" + "9" * 5000: 206,
    "bytes=" + "0" * 5000 + "-9": 206,
    "bytes=" + "9" * 5000 + "-" + "8" * 5000: 416,
    "bytes=\xb2-\xb3": 200,
}


def test_a_range_of_any_length_is_read(client: TestClient, finished: str) -> None:
    path = f"/v1/jobs/{finished}/files/model.safetensors"
    for sent, status in RANGES.items():
        answer = client.get(path, headers={"Range": sent.encode("latin-1")})  # type: ignore[dict-item]
        assert answer.status_code == status, sent[:30]


ACCEPTS = ("*/*;q=nan", "*/*;q=inf", "*/*;q=1e400", "*/*;q=", ",", ";;;", "a/b," * 3000, "*/*" + ";q=1" * 3000)


def test_an_odd_accept_is_answered_soon(client: TestClient, finished: str) -> None:
    for sent in ACCEPTS:
        started = time.perf_counter()
        answer = client.get(f"/v1/jobs/{finished}/report", headers={"Accept": sent})
        assert answer.status_code in (200, 406), sent[:30]
        assert len(answer.content) < 20_000
        assert time.perf_counter() - started < 1


def test_other_odd_headers_are_taken_for_nothing(client: TestClient, finished: str) -> None:
    for name, value in (
        ("Prefer", "wait=" + "9" * 5000),
        ("Last-Event-ID", "9" * 5000),
        ("X-Request-ID", "a" * 5000),
        ("If-None-Match", ", " * 5000),
        ("If-Range", "a" * 5000),
    ):
        answer = client.get(f"/v1/jobs/{finished}", headers={name: value})
        assert answer.status_code == 200, name
        assert len(answer.headers["X-Request-ID"]) < 200


def test_a_body_as_deep_or_as_wide_as_may_be_is_refused_soon(refusing: TestClient) -> None:
    for body in (
        b'{"a":' * 100_000,
        b'{"model": ' + b"[" * 500 + b"]" * 500 + b"}",
        json.dumps({"model": "a/b", "task": "sst2", **{f"k{number}": 1 for number in range(50_000)}}).encode(),
        json.dumps({"model": "a/b", "task": "sst2", "metadata": {f"k{n}": "v" for n in range(50_000)}}).encode(),
        json.dumps({"model": "a/b", "task": "sst2", "evaluation": {"seeds": list(range(100_000))}}).encode(),
    ):
        started = time.perf_counter()
        answer = refusing.post("/v1/jobs", content=body)
        assert answer.status_code in (400, 413, 422)
        assert len(answer.content) < 100_000
        assert time.perf_counter() - started < 5
