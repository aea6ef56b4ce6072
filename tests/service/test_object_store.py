"""Downloads where artifacts are in S3: read ahead by us, or from the store itself at an address that it signed."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import structlog
from fastapi.testclient import TestClient

from service.settings import GatewaySettings
from service.state import GatewayState
from store.reading import READ_BYTES
from tests.support.gateway_worker import FILES, WEIGHTS, claim, succeed, unpack
from tests.support.s3_server import BUCKET, Bucket, bucket


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with bucket() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def presigned_seconds() -> int:
    return 0


@pytest.fixture
def settings(settings: GatewaySettings, s3: Bucket, presigned_seconds: int) -> GatewaySettings:
    values = {"artifacts_url": f"s3://{BUCKET}/layercut", "presigned_seconds": presigned_seconds}
    return settings.model_copy(update=values)


signed = pytest.mark.parametrize("presigned_seconds", [60])


def test_only_what_is_asked_for_is_read_from_it(client: TestClient, finished: str, s3: Bucket) -> None:
    whole = client.get(f"/v1/jobs/{finished}/download").content
    assert unpack(whole) == FILES
    s3.asked.clear()
    start = whole.index(WEIGHTS)
    part = client.get(f"/v1/jobs/{finished}/download", headers={"Range": f"bytes={start + 5}-{start + 104}"})
    assert part.content == WEIGHTS[5:105]
    ranges = [wanted for method, path, wanted in s3.asked if method == "GET" and path.endswith("model.safetensors")]
    assert ranges == ["bytes=5-104"]


def test_a_large_file_is_read_piece_by_piece(
    client: TestClient, state: GatewayState, body: dict[str, object], s3: Bucket, tmp_path: Path
) -> None:
    job = client.post("/v1/jobs", json=body).json()
    large = os.urandom(2 * READ_BYTES + 5)
    succeed(state, claim(state), tmp_path / "scratch", **{"vocab.txt": large})
    assert client.get(f"/v1/jobs/{job['id']}/files/vocab.txt").content == large
    ranges = {wanted for method, path, wanted in s3.asked if method == "GET" and path.endswith("vocab.txt")}
    edges = (0, READ_BYTES, 2 * READ_BYTES, len(large))
    assert ranges == {f"bytes={start}-{end - 1}" for start, end in itertools.pairwise(edges)}


def test_an_object_that_is_gone_is_no_half_answer(client: TestClient, finished: str, s3: Bucket) -> None:
    (name,) = (key for key in s3.objects if key.endswith("model.safetensors"))
    del s3.objects[name]
    answer = client.get(f"/v1/jobs/{finished}/files/model.safetensors")
    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")


@signed
def test_the_store_sends_a_file_at_an_address_that_it_signed(client: TestClient, finished: str, s3: Bucket) -> None:
    address = f"/v1/jobs/{finished}/files/model.safetensors"
    with structlog.testing.capture_logs() as logs:
        answer = client.get(address, headers={"Range": "bytes=5-104"}, follow_redirects=False)
    assert answer.status_code == 307
    assert "no-store" in answer.headers["Cache-Control"]
    there = urlsplit(answer.headers["Location"])
    assert there.port == s3.server_port
    assert parse_qs(there.query)["X-Amz-Expires"] == ["60"]
    assert "X-Amz" not in str(logs), "the address is a key to the file"
    part = httpx.get(answer.headers["Location"], headers={"Range": "bytes=5-104"}, trust_env=False)
    assert part.content == WEIGHTS[5:105]


@signed
def test_what_it_cannot_send_we_do(client: TestClient, finished: str) -> None:
    """The tar is no object; and who only asks, or has the file already, needs no address."""
    assert unpack(client.get(f"/v1/jobs/{finished}/download", follow_redirects=False).content) == FILES
    address = f"/v1/jobs/{finished}/files/model.safetensors"
    head = client.head(address)
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(WEIGHTS)))
    assert client.get(address, headers={"If-None-Match": head.headers["ETag"]}).status_code == 304


def test_files_are_deleted_there(state: GatewayState, finished: str, s3: Bucket) -> None:
    state.artifacts.delete(f"jobs/{finished}")
    assert s3.objects == {}
    assert state.artifacts.sweep_unfinished(0) == 0


@signed
def test_the_hubs_clients_are_led_there_too(client: TestClient, finished: str) -> None:
    """They ask first, of us, and keep what they get by our hash of it."""
    address = f"/jobs/{finished}/resolve/main/model.safetensors"
    head, answer = client.head(address), client.get(address, follow_redirects=False)
    assert (head.status_code, head.headers["X-Linked-Size"]) == (200, str(len(WEIGHTS)))
    assert answer.status_code == 307
    assert "no-store" in answer.headers["Cache-Control"]
    assert answer.headers["X-Repo-Commit"] == head.headers["X-Repo-Commit"]
    assert httpx.get(answer.headers["Location"], trust_env=False).content == WEIGHTS
