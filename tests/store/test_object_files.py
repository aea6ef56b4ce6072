"""The files of artifacts in a bucket of a real S3 server: in parts, side by side, by the page, with nothing left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import obstore
import pytest
from obstore.store import S3Store

from api_schemas.errors import LayercutError
from store.artifacts import ArtifactStore
from store.passing import passing
from store.read_ahead import RANGE_BYTES, RANGES_AT_ONCE, read_ahead
from store.sweeping import PAGE, NotDeletedError
from store.uploads import PART_BYTES, UploadStopped
from tests.support.processes import eventually
from tests.support.s3_server import bucket
from tests.support.seaweedfs import READER, Seaweed

PREFIX = "jobs/job_1/attempts/1-aa"
SIZE = 2 * PART_BYTES + 5


@pytest.fixture
def artifacts(s3_url: str) -> ArtifactStore:
    return ArtifactStore(s3_url)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(os.urandom(SIZE))
    (folder / "config.json").write_text("{}")
    return folder


def test_a_file_of_several_parts_comes_back_as_it_was(artifacts: ArtifactStore, folder: Path, tmp_path: Path) -> None:
    artifacts.publish(PREFIX, folder)
    (tmp_path / "new").mkdir()
    artifacts.fetch(PREFIX, tmp_path / "new")
    assert {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()} == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }


def test_what_is_published_again_takes_the_place_of_what_was_there(
    artifacts: ArtifactStore, folder: Path, tmp_path: Path
) -> None:
    artifacts.publish(PREFIX, folder)
    (folder / "model.safetensors").write_bytes(b"smaller")
    artifacts.publish(PREFIX, folder)
    (tmp_path / "new").mkdir()
    artifacts.fetch(PREFIX, tmp_path / "new")
    assert (tmp_path / "new" / "model.safetensors").read_bytes() == b"smaller"


def test_the_store_knows_what_kind_of_file_it_has(artifacts: ArtifactStore, folder: Path) -> None:
    """It may send it itself, at an address that was signed."""
    artifacts.publish(PREFIX, folder)
    for name, kind in (("config.json", "application/json"), ("model.safetensors", "application/octet-stream")):
        address = artifacts.presigned(PREFIX, name, 60)
        assert address is not None
        assert httpx.get(address, trust_env=False).headers["Content-Type"] == kind


def blocks(seaweedfs: Seaweed, error: Exception | None = None) -> Iterator[bytes]:
    """Twenty, of which two parts are made, and ``error`` once the store has these: one on its way could come later."""
    yield from (bytes(1 << 20) for _ in range(20))
    eventually(lambda: list(seaweedfs.unfinished_uploads().values()) == [2])
    if error:
        raise error


def test_an_upload_that_breaks_or_is_stopped_leaves_no_parts(artifacts: ArtifactStore, seaweedfs: Seaweed) -> None:
    for error in (UploadStopped(), ConnectionResetError()):
        with pytest.raises(type(error)):
            artifacts.upload(PREFIX).put("model.safetensors", 40 << 20, blocks(seaweedfs, error))
        assert seaweedfs.unfinished_uploads() == {}
    with pytest.raises(LayercutError, match="was to have"):
        artifacts.upload(PREFIX).put("model.safetensors", 40 << 20, blocks(seaweedfs))
    assert seaweedfs.unfinished_uploads() == {}
    assert artifacts.prefixes("jobs") == []


KILLED = """
import sys
from store.artifacts import ArtifactStore
def blocks():
    for _ in range(40):
        yield bytes(1 << 20)
    print("sent", flush=True)
    sys.stdin.read()
ArtifactStore(sys.argv[1]).upload("jobs/job_1/attempts/1-aa").put("model.safetensors", 2**30, blocks())
"""


@pytest.mark.chaos
def test_what_a_killed_upload_leaves_is_in_no_list_and_another_one_takes_no_harm(
    artifacts: ArtifactStore, s3_url: str, seaweedfs: Seaweed, folder: Path
) -> None:
    """Its parts are for a rule of the bucket to delete: docs/object-storage.md."""
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, s3_url],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2],
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"sent\n"
        process.send_signal(signal.SIGKILL)
    assert len(seaweedfs.unfinished_uploads()) == 1
    assert artifacts.sweep("job_1", 1, None) == 0
    artifacts.publish(PREFIX, folder)
    assert len(artifacts.manifest(PREFIX).files) == 2
    seaweedfs.clean_uploads()


@pytest.fixture
def stored(s3_url: str, seaweedfs: Seaweed) -> S3Store:
    return seaweedfs.store(prefix=s3_url.split("/", 3)[3])


@pytest.mark.parametrize(
    ("start", "end"),
    [(0, 1), (3, RANGE_BYTES + 3), (RANGE_BYTES, 2 * RANGE_BYTES), (7, (RANGES_AT_ONCE + 2) * RANGE_BYTES + 11)],
)
def test_ranges_that_are_read_side_by_side_come_in_turn(stored: S3Store, start: int, end: int) -> None:
    body = os.urandom(end + 100)
    obstore.put(stored, "x", body)
    assert b"".join(read_ahead(stored, "x", start, end)) == body[start:end]


def test_an_object_that_has_become_shorter_ends_where_it_ends(stored: S3Store) -> None:
    body = os.urandom(RANGE_BYTES + 10)
    obstore.put(stored, "x", body)
    assert b"".join(read_ahead(stored, "x", 0, 6 * RANGE_BYTES)) == body


def test_who_stops_reading_has_nothing_more_read(stored: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    small = 2**16
    monkeypatch.setattr("store.read_ahead.RANGE_BYTES", small)
    obstore.put(stored, "x", bytes(20 * small))
    asked: list[int] = []
    get_range = obstore.get_range

    def counted(*given: object, start: int, end: int) -> object:
        asked.append(start)
        return get_range(*given, start=start, end=end)

    monkeypatch.setattr(obstore, "get_range", counted)
    chunks = read_ahead(stored, "x", 0, 20 * small)
    next(chunks)
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]
    assert 2 <= len(asked) <= 2 + RANGES_AT_ONCE


@pytest.mark.slow
def test_thousands_of_files_are_listed_and_deleted_by_the_page(artifacts: ArtifactStore, stored: S3Store) -> None:
    names = [f"{PREFIX}/{number:05d}.json" for number in range(2 * PAGE + 100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: obstore.put(stored, name, b"{}"), [*names, f"{PREFIX}/manifest.json"]))
        obstore.put(stored, "jobs/job_10/attempts/1-aa/config.json", b"{}")
    assert artifacts.prefixes("jobs") == [PREFIX]
    assert artifacts.sweep("job_1", 1, None) == len(names) + 1
    assert artifacts.sweep("job_1", 1, None) == 0
    left = [item["path"] for page in obstore.list(stored, "jobs/") for item in page]
    assert left == ["jobs/job_10/attempts/1-aa/config.json"]


def test_a_page_goes_by_one_request_and_manifests_go_first(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / "small").mkdir()
    (folder / "small" / "config.json").write_text("{}")
    with bucket() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        artifacts = ArtifactStore("s3://bucket/layercut")
        for attempt in ("1-aa", "2-bb"):
            artifacts.publish(f"jobs/job_1/attempts/{attempt}", folder / "small")
        artifacts.delete("jobs/job_1")
        assert [sorted({key.rsplit("/")[-1] for key in keys}) for keys in server.deleted] == [
            ["manifest.json"],
            ["config.json"],
        ]


def test_a_key_that_may_not_delete_says_which_files_stayed(
    artifacts: ArtifactStore, s3_url: str, seaweedfs: Seaweed, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts.publish(PREFIX, folder)
    for name, value in seaweedfs.environment(READER).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(NotDeletedError, match=PREFIX) as caught:
        ArtifactStore(s3_url).delete(PREFIX)
    assert (caught.value.deleted, len(caught.value.errors)) == (0, 3)
    found = passing(caught.value)
    assert found is not None
    assert "its key may not do this" in found.message
    assert len(artifacts.manifest(PREFIX).files) == 2
