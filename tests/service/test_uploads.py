"""Data and models that are sent as a form: ready, or never there."""

from __future__ import annotations

from functools import partial

import pytest
from fastapi.testclient import TestClient

from api_schemas.uploads import UploadKind
from service.state import GatewayState
from tests.support.uploading import (
    CSV,
    DATASETS,
    MODEL,
    MODELS,
    form,
    refused,
    sha256,
    stored,
    tarred,
    zipped,
)


def state_of(client: TestClient) -> GatewayState:
    found: GatewayState = client.app.state.gateway  # type: ignore[attr-defined]
    return found


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
    packed = {"bert.tar.gz": partial(tarred, top="bert/"), "bert.zip": zipped}
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
