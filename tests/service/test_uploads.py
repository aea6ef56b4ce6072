"""Data and models that are sent: as a form, which is ready or was never there, and as parts that follow each other."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from api_schemas.tenants import Quotas, Scope
from api_schemas.uploads import UploadKind
from service.retention import expire_uploads, sweep_uploads
from service.state import GatewayState
from store.columns import later
from store.tables import uploads as rows
from tests.support.access import bearer, key_of
from tests.support.uploading import CSV, MODEL, announce, form, put, sha256, zipped

DATASETS, MODELS = "/v1/datasets", "/v1/models"


def refused(answer: httpx.Response, status: int, code: str, words: str = "") -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), body
    assert words in body["detail"]
    return body


def state_of(client: TestClient) -> GatewayState:
    found: GatewayState = client.app.state.gateway  # type: ignore[attr-defined]
    return found


def stored(state: GatewayState) -> list[str]:
    """The files of uploads that are in the store."""
    root = Path(state.settings.artifacts_url.removeprefix("file://")) / "uploads"
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def tarred(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as target:
        for name, content in files.items():
            member = tarfile.TarInfo(f"bert/{name}")
            member.size = len(content)
            target.addfile(member, io.BytesIO(content))
    return packed.getvalue()


# As a form


def test_a_csv_is_ready_with_what_is_in_it(client: TestClient, state: GatewayState) -> None:
    answer = client.post(DATASETS, files=form({"reviews.csv": CSV}), data={"name": "reviews", "sha256": sha256(CSV)})
    assert answer.status_code == 201
    made = answer.json()
    assert answer.headers["Location"] == f"/v1/datasets/{made['id']}"
    assert (made["object"], made["status"], made["name"]) == ("dataset", "ready", "reviews")
    assert made["source"] == f"upload:{made['id']}"
    assert made["files"] == [{"name": "reviews.csv", "bytes": len(CSV), "received": len(CSV), "sha256": sha256(CSV)}]
    assert (made["bytes"], made["sha256"], made["error"]) == (len(CSV), sha256(CSV), None)
    found = made["inspection"]
    assert (found["rows"], found["label_counts"], found["bad_rows"]) == (4, {"label": {"0": 2, "1": 2}}, 1)
    assert found["bad_lines"][0]["line"] == 4
    assert client.get(answer.headers["Location"]).json() == made
    assert stored(state) == [f"{made['id']}/manifest.json", f"{made['id']}/reviews.csv"]
    ready = state.uploads.ready(made["id"], UploadKind.DATASET)
    manifest, pinned = state.artifacts.pinned_manifest(ready.prefix)
    assert (pinned, manifest.files[0].sha256) == (ready.manifest_sha256, sha256(CSV))


@pytest.mark.parametrize("archive", [None, "bert.tar.gz", "bert.zip"])
def test_a_model_is_its_files_or_an_archive_of_them(
    client: TestClient, state: GatewayState, archive: str | None
) -> None:
    files = {**MODEL, "pytorch_model.bin": b"\x80\x02", "modeling.py": b"import os"}
    packed = {"bert.tar.gz": tarred, "bert.zip": zipped}
    sent = files if archive is None else {archive: packed[archive](files)}
    made = client.post(MODELS, files=form(sent)).json()
    assert (made["object"], made["status"]) == ("model", "ready"), made
    assert {file["name"]: file["sha256"] for file in made["files"]} == {
        name: sha256(content) for name, content in MODEL.items()
    }
    assert (made["inspection"]["layers"], made["inspection"]["id"]) == (2, made["source"])
    assert made["notes"][0].startswith("left out, as no job reads them")
    assert stored(state) == [f"{made['id']}/{name}" for name in ("config.json", "manifest.json", "model.safetensors")]


@pytest.mark.parametrize(
    ("address", "files", "data", "told"),
    [
        (DATASETS, {"a.csv": b""}, {}, (422, "dataset_invalid", "the file is empty")),
        (DATASETS, {"a.csv": b"text,label\n"}, {}, (422, "dataset_invalid", "the file has no rows")),
        (DATASETS, {"a.csv": CSV, "b.csv": b""}, {}, (422, "dataset_invalid", "b.csv")),
        (DATASETS, {"a.xlsx": b"PK"}, {}, (422, "dataset_invalid", "not a file of a known kind")),
        (DATASETS, {"../a.csv": CSV}, {}, (422, "validation_failed", "leads to another folder")),
        (DATASETS, {"manifest.json": b"[]"}, {}, (422, "validation_failed", "that name is taken")),
        (DATASETS, {"a.csv": CSV, "A.csv": CSV}, {}, (422, "validation_failed", "two files are called")),
        (DATASETS, {}, {"name": "x"}, (422, "validation_failed", "no file came")),
        (DATASETS, {"a.csv": CSV}, {"nmae": "x"}, (422, "validation_failed", "there are name, sha256")),
        (DATASETS, {"a.csv": CSV}, {"sha256": "x"}, (422, "validation_failed", "64 hexadecimal digits")),
        (DATASETS, {"a.csv": CSV, "b.csv": CSV}, {"sha256": sha256(CSV)}, (422, "validation_failed", "of one file")),
        (DATASETS, {"a.csv": CSV}, {"name": "x" * 201}, (422, "validation_failed", "at most 200 characters")),
        (MODELS, {"config.json": MODEL["config.json"]}, {}, (422, "model_invalid", "has no weights")),
        (MODELS, {"config.json": b"{}", "pytorch_model.bin": b"x"}, {}, (422, "model_invalid", "pickle weights only")),
        (MODELS, {"model.safetensors": MODEL["model.safetensors"]}, {}, (422, "model_invalid", "no config.json")),
        (MODELS, {"a.zip": zipped({**MODEL, "../x": b""})}, {}, (422, "archive_invalid", "'../x': it leads to")),
        (MODELS, {"a.tar": b"nonsense"}, {}, (422, "archive_invalid", "is broken")),
        (MODELS, {"a.zip": zipped(MODEL), "b.zip": b""}, {}, (422, "archive_invalid", "an archive comes alone")),
    ],
)  # fmt: skip
def test_of_what_is_refused_nothing_is_left(
    client: TestClient,
    address: str,
    files: dict[str, bytes],
    data: dict[str, str],
    told: tuple[int, str, str],
) -> None:
    answer = client.post(address, files=form(files) or {"name": (None, "x")}, data=data if files else {})
    refused(answer, *told)
    assert stored(state_of(client)) == []
    assert client.get(address).json()["data"] == []


def test_a_hash_that_differs_is_told_with_both(client: TestClient, state: GatewayState) -> None:
    answer = client.post(DATASETS, files=form({"a.csv": CSV}), data={"sha256": "0" * 64})
    body = refused(answer, 422, "upload_hash_mismatch")
    assert (body["announced"], body["found"], body["file"]) == ("0" * 64, sha256(CSV), "a.csv")
    assert stored(state) == []
    packed = zipped(MODEL)
    made = client.post(MODELS, files=form({"a.zip": packed}), data={"sha256": sha256(packed)})
    assert made.status_code == 201, "of an archive it is that of the archive"


def test_what_is_too_large_is_told_the_limit(client: TestClient, state: GatewayState) -> None:
    state.settings.upload_bytes = 1000
    body = refused(client.post(DATASETS, files=form({"a.csv": CSV * 30})), 413, "payload_too_large")
    assert body["limit"] == 1000
    body = refused(client.post(DATASETS, json={"files": [{"name": "a.csv", "bytes": 1001}]}), 413, "payload_too_large")
    assert body["limit"] == 1000
    packed = zipped({**MODEL, "vocab.txt": bytes(2000)})
    refused(client.post(MODELS, files=form({"a.zip": packed})), 413, "payload_too_large")
    assert stored(state) == []


@pytest.mark.parametrize(
    ("content_type", "body", "words"),
    [
        ("multipart/form-data", b"", "needs its boundary"),
        ("multipart/form-data; boundary=", b"", "needs its boundary"),
        (f"multipart/form-data; boundary={'x' * 300}", b"", "Boundary length"),
        ("multipart/form-data; boundary=x", b"", "ends before its last boundary"),
        ("multipart/form-data; boundary=x", b"nonsense", "cannot be read"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\ntext", "Content-Disposition"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\nx", "Content-Disposition"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\ntext,label\n1,2\n',
            "ends before its last boundary",
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n\r\n--x--',
            "is not UTF-8",
        ),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"A: b\r\n" * 50, "cannot be read"),
        ("multipart/form-data; boundary=x", b"--x\r\nA: " + b"b" * 5000 + b"\r\n", "header size exceeded"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\n' + b"b" * 5000 + b"\r\n--x--",
            "has more than 4096 bytes",
        ),
    ],
)  # fmt: skip
def test_a_form_that_is_none_is_refused(
    client: TestClient, state: GatewayState, content_type: str, body: bytes, words: str
) -> None:
    answer = client.post(DATASETS, content=body, headers={"Content-Type": content_type})
    refused(answer, 400, "malformed_request", words)
    assert stored(state) == []


@pytest.mark.parametrize(
    ("named", "words"),
    [
        (b"", "give each file its name"),
        (b'; filename=""', "give each file its name"),
        (b'; filename="a\0.csv"', "a character that is none of a name"),
        (b'; filename="../../a.csv"', "leads to another folder"),
        (b'; filename="a.csv#3"', "it ends with # and a number"),
    ],
)
def test_a_file_needs_a_name_that_can_be_one(client: TestClient, named: bytes, words: str) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="file"' + named + b"\r\n\r\ntext\r\n--x--\r\n"
    answer = client.post(DATASETS, content=body, headers={"Content-Type": "multipart/form-data; boundary=x"})
    refused(answer, 422, "validation_failed", words)


def test_ten_thousand_parts_are_too_many(client: TestClient, state: GatewayState) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="%d.bin"\r\n\r\nx\r\n'
    body = b"".join(part % number for number in range(10_000)) + b"--x--\r\n"
    answer = client.post(MODELS, content=body, headers={"Content-Type": "multipart/form-data; boundary=x"})
    refused(answer, 413, "payload_too_large", "parts")
    assert stored(state) == []


def test_another_body_is_told_what_would_be_right(client: TestClient) -> None:
    answer = client.post(DATASETS, content=CSV, headers={"Content-Type": "text/csv"})
    refused(answer, 415, "unsupported_media_type", "curl -F file=@data.csv")


# In parts


def test_files_come_in_parts_and_are_then_completed(client: TestClient, state: GatewayState) -> None:
    files = {"train.csv": CSV * 3, "dev.csv": CSV}
    upload_id = announce(client, files, name="reviews")
    address = f"{DATASETS}/{upload_id}"
    made = client.get(address).json()
    assert (made["status"], made["inspection"], made["bytes"]) == ("uploading", None, 4 * len(CSV))
    answer = put(client, f"{address}/files/train.csv", files["train.csv"], 0, 50)
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (200, "50")
    assert answer.json()["files"][0]["received"] == 50
    head = client.head(f"{address}/files/train.csv")
    assert (head.headers["Upload-Offset"], head.headers["Upload-Length"]) == ("50", str(3 * len(CSV)))
    refused(client.post(f"{address}/complete"), 409, "upload_offset_mismatch", "50 of its")
    put(client, f"{address}/files/train.csv", files["train.csv"], 50)
    whole = client.put(f"{address}/files/dev.csv", content=CSV)
    assert whole.headers["Upload-Offset"] == str(len(CSV))
    done = client.post(f"{address}/complete")
    assert done.status_code == 200
    ready = done.json()
    assert (ready["status"], ready["name"]) == ("ready", "reviews")
    assert [file["sha256"] for file in ready["files"]] == [sha256(files["train.csv"]), sha256(CSV)]
    assert ready["inspection"]["file"] == "train.csv"
    assert [other["file"] for other in ready["inspection"]["others"]] == ["dev.csv"]
    lines = "".join(f"{sha256(files[name])}  {name}\n" for name in sorted(files))
    assert ready["sha256"] == sha256(lines.encode())
    assert client.post(f"{address}/complete").json() == ready, "again, nothing happens"
    assert stored(state) == [f"{upload_id}/{name}" for name in ("dev.csv", "manifest.json", "train.csv")]


def test_a_part_elsewhere_is_told_where_to_go_on(client: TestClient) -> None:
    address = f"{DATASETS}/{announce(client, {'a.csv': CSV})}"
    put(client, f"{address}/files/a.csv", CSV, 0, 20)
    for start, end in ((0, 10), (10, 20), (21, 30), (0, None)):
        answer = put(client, f"{address}/files/a.csv", CSV, start, end)
        body = refused(answer, 409, "upload_offset_mismatch", "it goes on at byte 20")
        assert (body["offset"], answer.headers["Upload-Offset"]) == (20, "20")
    refused(client.put(f"{address}/files/a.csv", content=CSV), 409, "upload_offset_mismatch")
    put(client, f"{address}/files/a.csv", CSV, 20)
    client.post(f"{address}/complete")
    answer = put(client, f"{address}/files/a.csv", CSV, 20)
    assert refused(answer, 409, "upload_complete", "is ready, and takes no more")["offset"] == len(CSV)


@pytest.mark.parametrize(
    ("header", "content", "told"),
    [
        ("bytes -5-9/63", CSV[:10], (422, "validation_failed", "is no range of a file")),
        ("bytes 9-0/63", CSV[:10], (422, "validation_failed", "is no range of a file")),
        ("bytes 0-99/63", CSV[:10], (422, "validation_failed", "is no range of a file")),
        ("bytes */63", b"", (422, "validation_failed", "is no range of a file")),
        ("bytes 0-9", CSV[:10], (422, "validation_failed", "is no range of a file")),
        ("chunks 0-9/63", CSV[:10], (422, "validation_failed", "is no range of a file")),
        (f"bytes 0-{'9' * 30}/*", CSV[:10], (422, "validation_failed", "is no range of a file")),
        ("bytes 0-9/67", CSV[:10], (422, "validation_failed", "and Content-Range says 67")),
        ("bytes 0-9/63", CSV[:9], (422, "validation_failed", "the body has 9 bytes, and the part 10")),
        ("bytes 0-63/*", CSV + b"x", (413, "payload_too_large", "was announced with 63 bytes")),
        (None, CSV + b"x", (413, "payload_too_large", "was announced with 63 bytes")),
        (None, CSV[:9], (422, "validation_failed", "the body has 9 bytes, and the part 63")),
    ],
)  # fmt: skip
def test_a_part_that_cannot_be_one(
    client: TestClient, header: str | None, content: bytes, told: tuple[int, str, str]
) -> None:
    assert len(CSV) == 63
    address = f"{DATASETS}/{announce(client, {'a.csv': CSV})}/files/a.csv"
    answer = client.put(address, content=content, headers={"Content-Range": header} if header else {})
    refused(answer, *told)
    assert client.head(address).headers["Upload-Offset"] == "0"


def test_a_body_in_chunks_that_ends_too_soon_is_kept_as_far_as_it_came(client: TestClient) -> None:
    address = f"{DATASETS}/{announce(client, {'a.csv': CSV})}/files/a.csv"

    def chunks(content: bytes) -> Iterator[bytes]:
        yield from (content[:10], content[10:])

    answer = client.put(address, content=chunks(CSV[:30]))
    assert refused(answer, 422, "validation_failed", "ends 33 bytes before the part")["offset"] == 30
    refused(
        client.put(address, content=chunks(CSV), headers={"Content-Range": "bytes 30-62/63"}), 413, "payload_too_large"
    )
    answer = client.put(address, content=chunks(CSV[30:]), headers={"Content-Range": "bytes 30-62/*"})
    assert answer.headers["Upload-Offset"] == "63"


def test_a_file_that_was_damaged_on_its_way_is_sent_again(client: TestClient, state: GatewayState) -> None:
    files = [{"name": name, "bytes": len(CSV), "sha256": sha256(CSV)} for name in ("train.csv", "dev.csv")]
    address = f"{DATASETS}/{client.post(DATASETS, json={'files': files}).json()['id']}"
    damaged = CSV.replace(b"good", b"gold")
    client.put(f"{address}/files/train.csv", content=CSV)
    client.put(f"{address}/files/dev.csv", content=damaged)
    body = refused(client.post(f"{address}/complete"), 422, "upload_hash_mismatch", "dev.csv")
    assert (body["announced"], body["found"], body["offset"]) == (sha256(CSV), sha256(damaged), 0)
    assert [file["received"] for file in client.get(address).json()["files"]] == [len(CSV), 0]
    client.put(f"{address}/files/dev.csv", content=CSV)
    assert client.post(f"{address}/complete").json()["status"] == "ready"
    assert [name.rsplit("/", 1)[1] for name in stored(state)] == ["dev.csv", "manifest.json", "train.csv"]


def test_what_came_and_is_of_no_use_has_failed(client: TestClient, state: GatewayState) -> None:
    content = b"text,label\n"
    address = f"{DATASETS}/{announce(client, {'a.csv': content})}"
    client.put(f"{address}/files/a.csv", content=content)
    for _ in range(2):
        refused(client.post(f"{address}/complete"), 422, "dataset_invalid", "the file has no rows")
    made = client.get(address).json()
    assert (made["status"], made["error"]["code"]) == ("failed", "dataset_invalid")
    refused(client.put(f"{address}/files/a.csv", content=content), 409, "upload_complete")
    assert stored(state) == []


@pytest.mark.parametrize("name", ["bert.tar.gz", "bert.zip"])
def test_an_archive_in_parts_is_unpacked_once_it_is_whole(client: TestClient, state: GatewayState, name: str) -> None:
    packed = {"bert.tar.gz": tarred, "bert.zip": zipped}[name](MODEL)
    upload_id = announce(client, {name: packed}, "models")
    address = f"{MODELS}/{upload_id}"
    put(client, f"{address}/files/{name}", packed, 0, 300)
    put(client, f"{address}/files/{name}", packed, 300)
    made = client.post(f"{address}/complete").json()
    assert made["status"] == "ready", made
    assert {file["name"]: file["sha256"] for file in made["files"]} == {
        name: sha256(content) for name, content in MODEL.items()
    }
    assert stored(state) == [f"{upload_id}/{name}" for name in ("config.json", "manifest.json", "model.safetensors")]


def test_a_file_in_a_folder_and_an_empty_one(client: TestClient) -> None:
    files = {**MODEL, "README.md": b"", "1_Pooling/config.json": b"{}"}
    address = f"{MODELS}/{announce(client, files, 'models')}"
    for name, content in files.items():
        if content:
            assert client.put(f"{address}/files/{name}", content=content).status_code == 200
    assert client.put(f"{address}/files/README.md", content=b"").headers["Upload-Offset"] == "0"
    assert client.post(f"{address}/complete").json()["status"] == "ready"


@pytest.mark.parametrize(
    ("body", "pointer", "words"),
    [
        ({}, "/files", "required"),
        ({"files": []}, "/files", "at least 1"),
        ({"files": [{"name": "a.csv"}]}, "/files/0/bytes", "required"),
        ({"files": [{"name": "a.csv", "bytes": -1}]}, "/files/0/bytes", "greater than or equal to 0"),
        ({"files": [{"name": "a.csv", "bytes": 1, "sha256": "x"}]}, "/files/0/sha256", "pattern"),
        ({"files": [{"name": "../a.csv", "bytes": 1}]}, "/files/0/name", "another folder"),
        ({"files": [{"name": "a.csv", "bytes": 1, "md5": "x"}]}, "/files/0/md5", "unknown field"),
        ({"files": [{"name": f"{n}.csv", "bytes": 1} for n in range(1201)]}, "/files", "at most 1200"),
    ],
)  # fmt: skip
def test_what_cannot_be_announced(client: TestClient, body: dict[str, Any], pointer: str, words: str) -> None:
    answer = client.post(DATASETS, json=body)
    errors = refused(answer, 422, "validation_failed")["errors"]
    assert errors[0]["pointer"] == pointer
    assert words in errors[0]["message"]


# Whose they are, and how long they stay


def test_pages_and_deleting(client: TestClient, state: GatewayState) -> None:
    ids = [client.post(DATASETS, files=form({"a.csv": CSV})).json()["id"] for _ in range(3)]
    page = client.get(DATASETS, params={"limit": 2}).json()
    assert ([one["id"] for one in page["data"]], page["has_more"]) == ([ids[2], ids[1]], True)
    page = client.get(DATASETS, params={"after": page["next_cursor"]}).json()
    assert ([one["id"] for one in page["data"]], page["next_cursor"]) == ([ids[0]], None)
    refused(client.get(DATASETS, params={"after": "x"}), 400, "invalid_cursor")
    assert client.get(MODELS).json()["data"] == []
    for _ in range(2):
        assert client.delete(f"{DATASETS}/{ids[0]}").status_code == 204
    refused(client.get(f"{DATASETS}/{ids[0]}"), 404, "upload_not_found")
    refused(client.get(f"{MODELS}/{ids[1]}"), 404, "upload_not_found")
    sweep_uploads(state)
    assert {name.partition("/")[0] for name in stored(state)} == set(ids[1:])


def test_they_expire(client: TestClient, state: GatewayState) -> None:
    ready = client.post(DATASETS, files=form({"a.csv": CSV})).json()
    begun = announce(client, {"a.csv": CSV})
    client.put(f"{DATASETS}/{begun}/files/a.csv", content=CSV)
    expire_uploads(state)
    assert len(client.get(DATASETS).json()["data"]) == 2
    with state.engine.begin() as connection:
        connection.execute(rows.update().values(expires_at=later(-1)))
    expire_uploads(state)
    for upload_id in (ready["id"], begun):
        refused(client.get(f"{DATASETS}/{upload_id}"), 410, "expired", "was kept until")
    refused(client.put(f"{DATASETS}/{begun}/files/a.csv", content=CSV), 410, "expired")
    sweep_uploads(state)
    assert stored(state) == []


def test_a_tenant_has_its_own_within_its_quota(client: TestClient, state: GatewayState) -> None:
    for tenant in ("team-a", "team-b"):
        state.tenants.create(tenant, tenant, Quotas(artifact_bytes=100))
    ours, theirs = (bearer(key_of(state, tenant, Scope.SUBMIT)) for tenant in ("team-a", "team-b"))
    made = client.post(DATASETS, files=form({"a.csv": CSV}), headers=ours)
    # The form around the file counts until it is known how much of it is the file.
    refused(made, 429, "quota_exceeded", "the quota artifact_bytes is 100")
    state.tenants.change("team-a", artifact_bytes=300)
    upload_id = client.post(DATASETS, files=form({"a.csv": CSV}), headers=ours).json()["id"]
    limits = client.get("/v1/limits", headers=ours).json()["usage"]
    assert (limits["uploads_bytes"], limits["artifact_bytes"]) == (len(CSV), len(CSV))
    address = f"{DATASETS}/{upload_id}"
    for answer in (
        client.get(address, headers=theirs),
        client.delete(address, headers=theirs),
        client.put(f"{address}/files/a.csv", content=CSV, headers=theirs),
        client.post(f"{address}/complete", headers=theirs),
    ):
        refused(answer, 404, "upload_not_found")
    assert client.get(DATASETS, headers=theirs).json()["data"] == []
    reads = bearer(key_of(state, "team-a", Scope.READ))
    assert client.get(address, headers=reads).status_code == 200
    for answer in (client.delete(address, headers=reads), client.post(DATASETS, headers=reads)):
        refused(answer, 403, "forbidden")
    lines = state.audit.page("team-a")[0]
    assert ("upload.ready", upload_id) in [(line.action, line.target) for line in lines]


def test_what_unpacks_to_more_than_the_quota_has_room_for_is_refused(client: TestClient, state: GatewayState) -> None:
    packed = tarred({**MODEL, "vocab.txt": b"word\n" * 2000})
    state.tenants.create("team-a", "A", Quotas(artifact_bytes=3000))
    assert len(packed) < 2000
    answer = client.post(
        MODELS, files=form({"a.tar.gz": packed}), headers=bearer(key_of(state, "team-a", Scope.SUBMIT))
    )
    refused(answer, 429, "quota_exceeded", "has room for 3000 bytes")
    assert stored(state) == []


def test_a_post_that_is_sent_again_is_answered_again(client: TestClient) -> None:
    for sent in ({"files": form({"a.csv": CSV})}, {"json": {"files": [{"name": "a.csv", "bytes": 3}]}}):
        key = {"Idempotency-Key": f"key-{len(sent)}-{'json' in sent}"}
        first, again = (client.post(DATASETS, headers=key, **sent) for _ in range(2))
        assert first.status_code == again.status_code == 201
        assert (again.json(), again.headers["Location"]) == (first.json(), first.headers["Location"])
        assert again.headers["Idempotency-Replayed"] == "true"
    assert len(client.get(DATASETS).json()["data"]) == 2
    answer = client.post(DATASETS, headers=key, json={"files": [{"name": "b.csv", "bytes": 3}]})
    refused(answer, 422, "idempotency_key_reused")


def test_without_room_nothing_is_taken(client: TestClient, state: GatewayState) -> None:
    state.settings.min_free_bytes = 2**60
    for sent in ({"files": form({"a.csv": CSV})}, {"json": {"files": [{"name": "a.csv", "bytes": 3}]}}):
        refused(client.post(DATASETS, **sent), 507, "storage_full", "are kept free")  # type: ignore[arg-type]
    assert stored(state) == []


def test_more_than_the_disk_has_room_for_is_not_begun(client: TestClient, state: GatewayState) -> None:
    state.settings.upload_bytes = 2**50
    huge = {"files": [{"name": "a.csv", "bytes": 2**49}]}
    refused(client.post(DATASETS, json=huge), 507, "storage_full", "and this needs")
    assert client.get(DATASETS).json()["data"] == []


def test_uploads_are_counted(client: TestClient) -> None:
    client.post(DATASETS, files=form({"a.csv": CSV}))
    client.post(DATASETS, files=form({"a.csv": b""}))
    told = client.get("/metrics").text
    assert 'layercut_uploads_total{kind="dataset",outcome="ready"} 1.0' in told
    assert 'layercut_uploads_total{kind="dataset",outcome="refused"} 1.0' in told
    assert f'layercut_upload_bytes_total{{kind="dataset"}} {float(len(CSV))}' in told
