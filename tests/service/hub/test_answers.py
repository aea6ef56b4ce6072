"""Answers to the hub's clients, header by header: what they cache by, what they page by, what they are told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

from fastapi.testclient import TestClient

from tests.support.gateway_worker import FILES, WEIGHTS
from tests.support.hub_gateway import MORE, refused

NAMES = sorted({*FILES, *MORE})


def test_a_file_has_all_that_a_client_keeps_it_by(client: TestClient, file: Callable[..., str], sha256: str) -> None:
    head, got = client.head(file()), client.get(file())
    assert got.content == WEIGHTS
    for answer in (head, got):
        assert answer.status_code == 200
        assert answer.headers["X-Repo-Commit"] == sha256[:40]
        assert answer.headers["X-Linked-Etag"] == f'"{hashlib.sha256(WEIGHTS).hexdigest()}"'
        assert answer.headers["X-Linked-Size"] == answer.headers["Content-Length"] == str(len(WEIGHTS))
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert "X-Xet-Hash" not in answer.headers
    assert head.content == b""
    assert client.get(file("1_Pooling/deep/a%20b.json")).content == b"[]"


def test_it_is_the_same_file_as_elsewhere(client: TestClient, file: Callable[..., str], job_id: str) -> None:
    other = client.get(f"/v1/jobs/{job_id}/files/model.safetensors")
    for name in ("ETag", "Repr-Digest", "Content-Disposition", "Content-Security-Policy", "X-Content-Type-Options"):
        assert client.get(file()).headers[name] == other.headers[name]
    assert client.get(file(), headers={"If-None-Match": other.headers["ETag"]}).status_code == 304


def test_a_range_goes_on_where_it_stopped(client: TestClient, file: Callable[..., str], sha256: str) -> None:
    answer = client.get(file(), headers={"Range": "bytes=100-"})
    assert (answer.status_code, answer.content) == (206, WEIGHTS[100:])
    assert answer.headers["X-Repo-Commit"] == sha256[:40]
    past = client.get(file(), headers={"Range": f"bytes={len(WEIGHTS)}-"})
    assert (past.status_code, past.headers["Content-Range"]) == (416, f"bytes */{len(WEIGHTS)}")
    many = client.get(file(), headers={"Range": "bytes=" + ",".join(f"{n}-{n}" for n in range(1500))})
    assert (many.status_code, many.content) == (200, WEIGHTS)


def test_a_revision_is_the_branch_the_commit_or_the_whole_hash(
    client: TestClient, file: Callable[..., str], api: str, sha256: str
) -> None:
    for revision in ("main", sha256[:40], sha256):
        assert client.head(file(revision=revision)).headers["X-Repo-Commit"] == sha256[:40]
        assert client.get(f"{api}/revision/{revision}").json()["sha"] == sha256[:40]
        assert len(client.get(f"{api}/tree/{revision}?recursive=true").json()) == len(NAMES) + 2
    for revision in ("0" * 40, sha256[:39], sha256[:41], "refs%2Fpr%2F1", "v1.0", "%2e%2e", "main%20", "MAIN"):
        for path in (f"{api}/revision/{revision}", f"{api}/tree/{revision}", file(revision=revision)):
            assert refused(client.get(path)) == (404, "RevisionNotFound"), path


def test_what_may_change_is_asked_for_again_and_what_may_not_is_not(
    client: TestClient, file: Callable[..., str], sha256: str
) -> None:
    assert client.get(file()).headers["Cache-Control"] == "private, no-cache"
    assert "immutable" in client.get(file(revision=sha256[:40])).headers["Cache-Control"]


def test_it_is_described_by_its_card_and_by_its_jobs_name(client: TestClient, api: str, job_id: str) -> None:
    found = client.get(api).json()
    assert found["id"] == found["modelId"] == f"jobs/{job_id}"
    assert found["private"] is True
    assert (found["library_name"], found["pipeline_tag"]) == ("transformers", None)
    assert found["tags"] == ["pruned", "small", "transformers", "license:mit"]
    card = {"license": "mit", "library_name": "transformers", "tags": ["pruned", "small"]}
    assert found["cardData"] == {**card, "model_name": "layercut-bert"}
    assert found["siblings"] == [{"rfilename": name} for name in NAMES]
    weights = next(file for file in client.get(f"{api}?blobs=True").json()["siblings"] if file["size"] == len(WEIGHTS))
    assert weights["lfs"]["sha256"] == hashlib.sha256(WEIGHTS).hexdigest()


def test_a_files_blob_is_that_of_its_pointer(client: TestClient, api: str) -> None:
    """As git has it, so that whoever clones by other means finds the same."""
    (entry,) = client.post(f"{api}/paths-info/main", data={"paths": ["model.safetensors"]}).json()
    pointer = (
        "version https://git-lfs.github.com/spec/v1\n"
        f"oid sha256:{hashlib.sha256(WEIGHTS).hexdigest()}\nsize {len(WEIGHTS)}\n"
    ).encode()
    assert entry["lfs"]["pointerSize"] == len(pointer)
    blob = b"blob %d\0" % len(pointer) + pointer
    assert entry["oid"] == hashlib.sha1(blob, usedforsecurity=False).hexdigest()


TREES = (
    ("", False, ["1_Pooling", "README.md", "model.safetensors", "report.json"]),
    ("", True, sorted({*NAMES, "1_Pooling", "1_Pooling/deep"})),
    ("/1_Pooling", False, ["1_Pooling/config.json", "1_Pooling/deep"]),
    ("/1_Pooling%2Fdeep", True, ["1_Pooling/deep/a b.json"]),
    ("/1_Pooling/deep/", False, ["1_Pooling/deep/a b.json"]),
)


def test_a_tree_has_what_lies_beneath(client: TestClient, api: str) -> None:
    for path, recursive, expected in TREES:
        found = client.get(f"{api}/tree/main{path}", params={"recursive": str(recursive)}).json()
        assert [entry["path"] for entry in found] == expected
        assert {entry["path"] for entry in found if entry["type"] == "directory"} <= {"1_Pooling", "1_Pooling/deep"}
        assert all(len(entry["oid"]) == 40 for entry in found)
    for path in ("additional_chat_templates", "1_Pool", "model.safetensors", "%2e%2e", "1_Pooling/%2e%2e"):
        assert refused(client.get(f"{api}/tree/main/{path}")) == (404, "EntryNotFound")


def test_a_tree_comes_in_pages(client: TestClient, api: str) -> None:
    address, found = f"{api}/tree/main?recursive=true&limit=3", []
    while address:
        answer = client.get(address)
        assert len(answer.json()) <= 3
        found += [entry["path"] for entry in answer.json()]
        address = answer.links.get("next", {}).get("url", "")
    assert found == sorted({*NAMES, "1_Pooling", "1_Pooling/deep"})


def test_there_is_one_branch(client: TestClient, api: str, sha256: str) -> None:
    found = client.get(f"{api}/refs").json()
    assert found["branches"] == [{"name": "main", "ref": "refs/heads/main", "targetCommit": sha256[:40]}]


def test_paths_are_looked_up_as_a_form_or_as_json(client: TestClient, api: str) -> None:
    asked = ["model.safetensors", "1_Pooling", "nothing", "../x"]
    for sent in ({"data": {"paths": asked, "expand": "False"}}, {"json": {"paths": asked}}):
        found = client.post(f"{api}/paths-info/main", **sent).json()  # type: ignore[arg-type]
        assert [(entry["path"], entry["type"]) for entry in found] == [
            ("model.safetensors", "file"), ("1_Pooling", "directory"),
        ]  # fmt: skip
    for wrong in (b"{", b'{"paths": 1}', b'{"paths": [1]}', b"\xff", b"{" * 9999, json.dumps({"paths": ["x"] * 1001})):
        assert client.post(f"{api}/paths-info/main", content=wrong).json()["code"] == "malformed_request"
    assert client.post(f"{api}/paths-info/main", content=b"x" * 300_000).json()["code"] == "payload_too_large"
