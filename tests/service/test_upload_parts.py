"""Data and models that are sent in parts: these follow each other, and are then completed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.state import GatewayState
from tests.support.uploading import (
    CSV,
    DATASETS,
    MODEL,
    MODELS,
    announce,
    put,
    refused,
    sha256,
    stored,
    tarred,
    zipped,
)


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
    packed = {"bert.tar.gz": partial(tarred, top="bert/"), "bert.zip": zipped}[name](MODEL)
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
