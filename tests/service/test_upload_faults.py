"""Uploads that meet what is not their fault: a full quota, a lost answer, a lost part. What came is kept, or swept."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError

from api_schemas.errors import LayercutError
from api_schemas.tenants import Quotas, Scope
from api_schemas.uploads import UploadKind
from service.state import GatewayState
from service.uploads.writer import Writer
from sources.uploads import datasets
from store.audit import Actor
from store.stored_uploads import Sending, UploadStore
from tests.support.access import bearer, key_of
from tests.support.uploading import (
    CSV,
    DATASETS,
    MODEL,
    MODELS,
    announce,
    form,
    put,
    refused,
    sha256,
    stored,
    tarred,
    zipped,
)

NOISE = os.urandom(2000).hex().encode()


PACK: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "m.tar.gz": tarred,
    "m.zip": partial(zipped, compression=zipfile.ZIP_DEFLATED),
}
LARGE = {**MODEL, "README.md": b"some words\n" * 9000}


@pytest.fixture
def ours(state: GatewayState) -> dict[str, str]:
    """Headers of a tenant whose quota has room for some kilobytes."""
    state.tenants.create("team-a", "A", Quotas(artifact_bytes=9000))
    return bearer(key_of(state, "team-a", Scope.SUBMIT))


def sent(client: TestClient, name: str, content: bytes, kind: str = "models") -> str:
    """The address of an upload of one file, which is there."""
    address = f"/v1/{kind}/{announce(client, {name: content}, kind)}"
    assert client.put(f"{address}/files/{name}", content=content).status_code == 200
    return address


# A quota


@pytest.mark.parametrize("name", PACK)
def test_an_archive_that_unpacks_to_more_than_the_quota_is_told_so_and_its_parts_stay(
    client: TestClient, state: GatewayState, ours: dict[str, str], name: str
) -> None:
    packed = PACK[name](LARGE)
    assert len(packed) < 4000
    refused(client.post(MODELS, files=form({name: packed}), headers=ours), 429, "quota_exceeded", "room for 9000 bytes")
    assert stored(state) == []
    client.headers.update(ours)
    address = sent(client, name, packed)
    refused(client.post(f"{address}/complete"), 429, "quota_exceeded", "room for 9000 bytes")
    assert client.get(address).json()["status"] == "uploading"
    assert state.tenants.usage("team-a").uploads_bytes == len(packed)
    state.tenants.change("team-a", artifact_bytes=200_000)
    assert client.post(f"{address}/complete").json()["status"] == "ready"


@pytest.mark.parametrize("name", PACK)
def test_an_archive_that_unpacks_to_more_than_may_be_uploaded_is_told_so(
    client: TestClient, state: GatewayState, name: str
) -> None:
    state.settings.upload_bytes = 9000
    address = sent(client, name, PACK[name](LARGE))
    assert refused(client.post(f"{address}/complete"), 413, "payload_too_large")["limit"] == 9000
    assert client.get(address).json()["status"] == "uploading"


@pytest.mark.parametrize("name", PACK)
def test_what_is_left_out_of_an_archive_takes_nothing_of_the_quota(
    client: TestClient, state: GatewayState, ours: dict[str, str], name: str
) -> None:
    packed = PACK[name]({**MODEL, "pytorch_model.bin": bytes(100_000)})
    made = client.post(MODELS, files=form({name: packed}), headers=ours)
    assert made.status_code == 201, made.text
    assert state.tenants.usage("team-a").uploads_bytes == sum(map(len, MODEL.values()))


def test_of_two_that_fit_alone_and_not_together_the_second_is_stopped(
    state: GatewayState, ours: dict[str, str]
) -> None:
    stores = state.upload_stores.of(Actor("team-a"))
    first, second = (stores.uploads.begin(UploadKind.DATASET, None, 0) for _ in range(2))
    with Writer(stores, first) as one, Writer(stores, second) as other:
        one.put("a.txt", None, [bytes(6000)])
        assert state.tenants.usage("team-a").uploads_bytes == 6000
        with pytest.raises(LayercutError, match="take 6000 bytes, these would take 6000 more") as caught:
            other.put("a.txt", None, [bytes(6000)])
    assert caught.value.code == "quota_exceeded"
    assert ours


def test_a_form_of_unknown_length_takes_of_the_quota_while_it_comes(live: tuple[str, GatewayState]) -> None:
    address, state = live
    state.tenants.create("team-a", "A", Quotas(artifact_bytes=300 << 20))
    headers, seen = bearer(key_of(state, "team-a", Scope.SUBMIT)), list[int]()

    def body() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
        for _ in range(250):  # it goes on until it is seen to count
            yield b"some words\n" * 95_000
            if used := state.tenants.usage("team-a").uploads_bytes:
                seen.append(used)
                break
        yield b"\r\n--x--\r\n"

    with httpx.Client(base_url=address, trust_env=False, timeout=60, headers=headers) as client:
        made = client.post(DATASETS, content=body(), headers={"Content-Type": "multipart/form-data; boundary=x"})
        assert made.status_code == 201, made.text
    assert seen, "nothing of it counted before its end"


# What is not in the bytes


def test_data_that_took_too_long_to_look_through_is_not_lost(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = sent(client, "a.csv", CSV, "datasets")
    with monkeypatch.context() as patched:
        patched.setattr(datasets, "LOOK_SECONDS", -1.0)
        refused(client.post(f"{address}/complete"), 422, "dataset_invalid", "to look through")
    assert client.get(address).json()["status"] == "uploading"
    assert client.post(f"{address}/complete").json()["status"] == "ready"


def test_one_that_is_ready_stays_so_where_the_answer_of_the_database_was_lost(
    client: TestClient, state: GatewayState, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = UploadStore.finish

    def unanswered(self: UploadStore, *of: Any, **more: Any) -> None:
        finish(self, *of, **more)
        raise OperationalError("COMMIT", {}, Exception("the answer is lost"))

    with monkeypatch.context() as patched:
        patched.setattr(UploadStore, "finish", unanswered)
        assert client.post(DATASETS, files=form({"a.csv": CSV})).status_code >= 500
    (made,) = client.get(DATASETS).json()["data"]
    assert made["status"] == "ready"
    assert stored(state) == [f"{made['id']}/a.csv", f"{made['id']}/manifest.json"]


# Parts


@pytest.mark.parametrize("name", ["m.tar.gz", "m.zip"])
def test_an_archive_of_which_a_part_is_lost_is_sent_again(client: TestClient, state: GatewayState, name: str) -> None:
    packed = PACK[name]({**MODEL, "README.md": NOISE})
    address = f"{MODELS}/{announce(client, {name: packed}, 'models')}"
    for start, end in ((0, 1000), (1000, len(packed))):
        put(client, f"{address}/files/{name}", packed, start, end)
    root = Path(state.settings.artifacts_url.removeprefix("file://")) / "uploads"
    (root / stored(state)[0]).unlink()
    assert refused(client.post(f"{address}/complete"), 409, "upload_offset_mismatch", "is lost")["offset"] == 0
    assert not [path for path in stored(state) if "/parts/" in path], "the other part is nobody's"
    assert client.put(f"{address}/files/{name}", content=packed).status_code == 200
    assert client.post(f"{address}/complete").json()["status"] == "ready"


def test_parts_of_a_file_that_begins_anew_are_deleted_and_no_others(client: TestClient, state: GatewayState) -> None:
    damaged = CSV.replace(b"good", b"gold")
    files = [{"name": name, "bytes": len(CSV), "sha256": sha256(CSV)} for name in ("train.csv", "dev.csv")]
    upload_id = client.post(DATASETS, json={"files": files}).json()["id"]
    client.put(f"{DATASETS}/{upload_id}/files/train.csv", content=CSV)
    client.put(f"{DATASETS}/{upload_id}/files/dev.csv", content=damaged)
    before = [path for path in stored(state) if "/parts/0/" in path]
    refused(client.post(f"{DATASETS}/{upload_id}/complete"), 422, "upload_hash_mismatch")
    assert [path for path in stored(state) if "/parts/" in path] == before


def test_a_piece_that_is_not_counted_as_another_sends_is_deleted(
    client: TestClient, state: GatewayState, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_id = announce(client, {"a.csv": CSV})
    begin = UploadStore.begin_part

    def taken_over(self: UploadStore, upload_id: str, kind: UploadKind, name: str, start: int) -> Sending:
        found = begin(self, upload_id, kind, name, start)
        begin(self, upload_id, kind, name, start)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(UploadStore, "begin_part", taken_over)
        answer = client.put(f"{DATASETS}/{upload_id}/files/a.csv", content=CSV)
    refused(answer, 409, "upload_offset_mismatch", "another request sends to it now")
    assert stored(state) == []


# Names, and what is in an archive


def test_the_longest_name_is_kept_and_a_longer_one_is_refused_at_once(client: TestClient) -> None:
    longest = "x" * 236 + ".csv"
    address = sent(client, longest, CSV, "datasets")
    assert client.post(f"{address}/complete").json()["status"] == "ready"
    answer = client.post(DATASETS, json={"files": [{"name": f"x{longest}", "bytes": 1}]})
    assert refused(answer, 422, "validation_failed", "240 bytes")["errors"][0]["pointer"] == "/files/0/name"


@pytest.mark.parametrize("as_form", [True, False])
def test_an_archive_with_a_name_that_cannot_be_kept_has_failed(
    client: TestClient, state: GatewayState, as_form: bool
) -> None:
    packed = zipped({**MODEL, "LICENSE-x#1": b"x"})
    if as_form:
        answer = client.post(MODELS, files=form({"m.zip": packed}))
    else:
        address = sent(client, "m.zip", packed)
        answer = client.post(f"{address}/complete")
        assert client.get(address).json()["status"] == "failed"
    refused(answer, 422, "archive_invalid", "'LICENSE-x#1' cannot be kept")
    assert stored(state) == []


def test_nothing_comes_beside_an_archive(client: TestClient, state: GatewayState) -> None:
    answer = client.post(MODELS, files=form({"m.zip": zipped(MODEL), "config.json": MODEL["config.json"]}))
    refused(answer, 422, "archive_invalid", "an archive comes alone")
    assert stored(state) == []
