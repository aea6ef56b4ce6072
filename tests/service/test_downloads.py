"""Reports and files: whole, in ranges, resumed, not sent again to who has them."""

from __future__ import annotations

import hashlib
import itertools
import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api_schemas.errors import LayercutError
from service.downloads import parse_range
from service.state import GatewayState
from tests.support.gateway_worker import CARD, FILES, REPORT, WEIGHTS, claim, succeed, unpack

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


@pytest.fixture
def tar(finished: str) -> str:
    return f"/v1/jobs/{finished}/download"


def test_the_download_is_one_tar_of_all_files(client: TestClient, tar: str) -> None:
    answer = client.get(tar)
    assert unpack(answer.content) == FILES
    assert answer.headers["content-type"] == "application/x-tar"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="layercut-bert.tar"'
    digest = hashlib.sha256(answer.content)
    assert answer.headers["ETag"] == f'"sha256-{digest.hexdigest()}"'
    assert answer.headers["Repr-Digest"] == f"sha-256=:{b64encode(digest.digest()).decode()}:"
    assert answer.headers["Content-Length"] == str(len(answer.content))


def test_it_is_stored_nowhere(state: GatewayState, finished: str) -> None:
    stored = [path for path in (state.settings.data_dir / "artifacts").rglob("*") if path.is_file()]
    assert sorted(path.name for path in stored) == ["README.md", "manifest.json", "model.safetensors", "report.json"]


def test_every_part_of_it_is_the_same_part(client: TestClient, tar: str) -> None:
    """Within a header, over the edges between headers, files and padding, and behind the last file."""
    whole = client.get(tar).content
    edges = [0, 1, 511, 512, 1023, 1024, 1025, 1024 + len(CARD), 2048, 2559, 2560, 2561, len(whole) - 1]
    for start, end in itertools.combinations([*edges, 2560 + SIZE, 2561 + SIZE], 2):
        first, last = sorted((start, end))
        answer = client.get(tar, headers={"Range": f"bytes={first}-{last}"})
        assert (answer.status_code, answer.content) == (206, whole[first : last + 1])


def test_the_stored_tar_of_an_older_artifact_is_still_sent(client: TestClient, state: GatewayState, tar: str) -> None:
    (path,) = (state.settings.data_dir / "artifacts").rglob("manifest.json")
    old, manifest = b"an older tar" * 1000, json.loads(path.read_text())
    (path.parent / "bert.tar").write_bytes(old)
    digest = hashlib.sha256(old).hexdigest()
    manifest["files"].append(
        {"name": "bert.tar", "bytes": len(old), "sha256": digest, "media_type": "application/x-tar"}
    )
    manifest["archive"] = "bert.tar"
    path.write_text(json.dumps(manifest))

    answer = client.get(tar, headers={"Range": "bytes=5-11999"})
    assert (answer.status_code, answer.content) == (206, old[5:])
    assert answer.headers["ETag"] == f'"sha256-{digest}"'
    assert answer.headers["Content-Disposition"] == 'attachment; filename="bert.tar"'
    files = client.get(tar.replace("download", "files")).json()["data"]
    assert {file["name"] for file in files} == set(FILES)


@pytest.mark.parametrize("gone", ["model.safetensors", "manifest.json"])
def test_a_file_that_should_be_there_and_is_not_is_no_half_answer(
    client: TestClient, state: GatewayState, finished: str, gone: str
) -> None:
    (path,) = (state.settings.data_dir / "artifacts").rglob(gone)
    path.unlink()
    for address in ("files/model.safetensors", "download"):
        answer = client.get(f"/v1/jobs/{finished}/{address}")
        assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
        assert client.head(f"/v1/jobs/{finished}/{address}").status_code == 503


def test_nor_is_a_link_sent(client: TestClient, state: GatewayState, finished: str, tmp_path: Path) -> None:
    (path,) = (state.settings.data_dir / "artifacts").rglob("model.safetensors")
    secret = path.rename(tmp_path / "elsewhere")
    path.symlink_to(secret)
    for address in ("files/model.safetensors", "download"):
        assert client.get(f"/v1/jobs/{finished}/{address}").status_code == 503


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
