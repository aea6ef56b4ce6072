"""Reports and files: whole, in ranges, resumed, not sent again to who has them."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from api_schemas.errors import LayercutError
from service.downloads import parse_range
from service.state import GatewayState
from tests.support.gateway_worker import ARCHIVE, CARD, REPORT, WEIGHTS, claim, succeed

SIZE = len(WEIGHTS)


@pytest.fixture
def weights(finished: str) -> str:
    return f"/v1/jobs/{finished}/files/model.safetensors"


def test_the_report_is_json_or_the_model_card(client: TestClient, finished: str) -> None:
    address = f"/v1/jobs/{finished}/report"
    plain, card = client.get(address), client.get(address, headers={"Accept": "text/markdown"})
    assert plain.json() == REPORT
    assert plain.headers["content-type"] == "application/json"
    assert card.text == CARD
    assert card.headers["content-type"].startswith("text/markdown")
    assert card.headers["Vary"] == "Accept"
    assert "Content-Disposition" not in card.headers
    browser = client.get(address, headers={"Accept": "text/html,application/xml;q=0.9,*/*;q=0.8"})
    assert browser.json() == REPORT
    assert client.get(address, headers={"Accept": "image/png"}).json()["code"] == "not_acceptable"


@pytest.mark.parametrize("path", ["report", "files", "files/model.safetensors", "download"])
def test_a_job_that_still_runs_has_no_result(
    client: TestClient, state: GatewayState, body: dict[str, Any], path: str
) -> None:
    job = client.post("/v1/jobs", json=body).json()
    claim(state)
    answer = client.get(f"{job['urls']['self']}/{path}")
    assert (answer.status_code, answer.json()["code"]) == (409, "result_not_ready")
    assert "running" in answer.json()["detail"]


def test_the_files_are_listed_with_their_hashes(client: TestClient, finished: str) -> None:
    files = {file["name"]: file for file in client.get(f"/v1/jobs/{finished}/files").json()["data"]}
    assert set(files) == {"README.md", "model.safetensors", "report.json"}
    assert files["model.safetensors"]["bytes"] == SIZE
    assert files["model.safetensors"]["sha256"] == hashlib.sha256(WEIGHTS).hexdigest()
    for file in files.values():
        assert hashlib.sha256(client.get(file["url"]).content).hexdigest() == file["sha256"]


def test_a_file_in_a_folder_has_its_own_address(
    client: TestClient, state: GatewayState, body: dict[str, Any], tmp_path: Path
) -> None:
    """As a sentence-transformers folder has them."""
    job = client.post("/v1/jobs", json=body).json()
    pooling = b'{"pooling_mode": "cls"}'
    succeed(state, claim(state), tmp_path / "scratch", **{"1_Pooling/config.json": pooling})
    address = f"/v1/jobs/{job['id']}/files/1_Pooling/config.json"
    listed = {file["name"]: file["url"] for file in client.get(f"/v1/jobs/{job['id']}/files").json()["data"]}
    assert listed["1_Pooling/config.json"] == address
    answer = client.get(address)
    assert answer.content == pooling
    assert answer.headers["Content-Disposition"] == 'attachment; filename="config.json"'
    for wrong in ("1_Pooling", "1_Pooling/model.safetensors", "1_Pooling/../config.json", "1_Pooling//config.json"):
        assert client.get(f"/v1/jobs/{job['id']}/files/{wrong}").status_code == 404


def test_a_file_comes_whole_with_its_digest(client: TestClient, weights: str) -> None:
    answer = client.get(weights)
    digest = hashlib.sha256(WEIGHTS)
    assert (answer.status_code, answer.content) == (200, WEIGHTS)
    assert answer.headers["ETag"] == f'"sha256-{digest.hexdigest()}"'
    assert answer.headers["Repr-Digest"] == f"sha-256=:{b64encode(digest.digest()).decode()}:"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Length"] == str(SIZE)
    assert answer.headers["Content-Disposition"] == 'attachment; filename="model.safetensors"'


def test_the_download_is_the_one_tar(client: TestClient, finished: str) -> None:
    answer = client.get(f"/v1/jobs/{finished}/download")
    assert answer.content == ARCHIVE
    assert answer.headers["content-type"] == "application/x-tar"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="layercut-bert.tar"'


def test_head_says_what_get_would(client: TestClient, weights: str) -> None:
    got, head = client.get(weights), client.head(weights)
    assert head.content == b""
    ignored = {"x-request-id"}
    assert {k: v for k, v in head.headers.items() if k not in ignored} == {
        k: v for k, v in got.headers.items() if k not in ignored
    }
    assert client.head(weights, headers={"Range": "bytes=0-9"}).headers["Content-Range"] == f"bytes 0-9/{SIZE}"


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=500-", 500, SIZE),
        ("bytes=-300", SIZE - 300, SIZE),
        ("bytes=-99999999", 0, SIZE),
        (f"bytes={SIZE - 1}-99999999", SIZE - 1, SIZE),
        ("Bytes = 5 - 6", 5, 7),
        (" bytes= -300 ", SIZE - 300, SIZE),
    ],
)
def test_a_range_is_sent_alone(client: TestClient, weights: str, header: str, start: int, end: int) -> None:
    answer = client.get(weights, headers={"Range": header})
    assert answer.status_code == 206
    assert answer.content == WEIGHTS[start:end]
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert answer.headers["Content-Length"] == str(end - start)
    assert answer.headers["ETag"] == client.head(weights).headers["ETag"]


@pytest.mark.parametrize("header", ["bytes=0-1,5-6", "items=0-5", "bytes=9-3", "bytes=-", "bytes=a-b", "0-5"])
def test_what_is_not_one_range_gets_the_whole_file(client: TestClient, weights: str, header: str) -> None:
    answer = client.get(weights, headers={"Range": header})
    assert (answer.status_code, answer.content) == (200, WEIGHTS)


@pytest.mark.parametrize("header", [f"bytes={SIZE}-", f"bytes={SIZE + 5}-{SIZE + 9}", "bytes=-0"])
def test_a_range_past_the_end_is_refused_with_the_size(client: TestClient, weights: str, header: str) -> None:
    answer = client.get(weights, headers={"Range": header})
    assert (answer.status_code, answer.json()["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["Content-Range"] == f"bytes */{SIZE}"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("header", [f"bytes={' ' * 5000}-{' ' * 5000}x", f"bytes={' ' * 10_000}x"])
def test_a_range_of_blanks_is_read_at_once(client: TestClient, weights: str, header: str) -> None:
    """Where blanks can be shared out in several ways, all are tried: for a quarter of an hour."""
    assert client.get(weights, headers={"Range": header}).content == WEIGHTS


def test_no_range_of_an_empty_file_can_be_satisfied() -> None:
    for header in ("bytes=0-", "bytes=-5"):
        with pytest.raises(LayercutError, match="0 bytes"):
            parse_range(header, 0)


def test_a_download_goes_on_only_if_the_file_is_the_same(client: TestClient, weights: str) -> None:
    etag = client.head(weights).headers["ETag"]
    same = client.get(weights, headers={"Range": "bytes=100-", "If-Range": etag})
    assert (same.status_code, same.content) == (206, WEIGHTS[100:])
    for other in ('"sha256-0"', f"W/{etag}", "Sat, 01 Nov 2025 00:00:00 GMT"):
        assert client.get(weights, headers={"Range": "bytes=100-", "If-Range": other}).content == WEIGHTS


def test_who_has_the_file_does_not_get_it_again(client: TestClient, weights: str) -> None:
    etag = client.head(weights).headers["ETag"]
    for tags in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        answer = client.get(weights, headers={"If-None-Match": tags})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["ETag"] == etag
    assert client.get(weights, headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize("name", ["config.json", "..%2f..%2fetc%2fpasswd", "manifest.json", "a%5cb"])
def test_a_file_that_is_not_of_the_artifact_is_not_found(client: TestClient, finished: str, name: str) -> None:
    answer = client.get(f"/v1/jobs/{finished}/files/{name}")
    assert (answer.status_code, answer.json()["code"]) == (404, "file_not_found")


def test_ranges_over_a_real_connection_add_up_to_the_file(
    live: tuple[str, GatewayState], body: dict[str, Any], tmp_path: Any
) -> None:
    address, state = live
    with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
        job = client.post("/v1/jobs", json=body).json()
        succeed(state, claim(state), tmp_path / "scratch")
        address = job["urls"]["download"]
        pieces = [
            client.get(address, headers={"Range": f"bytes={start}-{start + 49_999}"}).content
            for start in range(0, len(ARCHIVE), 50_000)
        ]
    assert b"".join(pieces) == ARCHIVE
