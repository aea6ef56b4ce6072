"""Publishing an artifact and reading it back, in a folder, in memory and at an S3 server."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from api_schemas.errors import LayercutError
from store.artifacts import ArtifactStore
from store.uploads import CHUNK_BYTES, PART_BYTES, UploadStopped
from tests.support.private_mounts import run_privately

PREFIX = "jobs/job_1/attempts/1-aa"
WEIGHTS = os.urandom(3_000_001)


@pytest.fixture(params=["file", "memory", "s3"])
def artifacts(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    urls = {"file": f"file://{tmp_path}/artifacts", "memory": "memory:///"}
    return ArtifactStore(urls.get(request.param) or request.getfixturevalue("s3_url"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "out" / "artifact"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "README.md").write_text("# a card\n")
    (folder / "empty.txt").touch()
    (folder / "sub" / "config.json").write_text("{}")
    return folder


def test_a_folder_on_another_host_is_none_of_ours() -> None:
    """A slash is missing: else it would be a folder at the top of this host's disk."""
    with pytest.raises(ValueError, match="three slashes"):
        ArtifactStore("file://layercut-test/artifacts")


def read(artifacts: ArtifactStore, name: str, start: int, end: int) -> bytes:
    return b"".join(artifacts.open_range(PREFIX, name, start, end))


def test_what_is_published_comes_back(artifacts: ArtifactStore, folder: Path) -> None:
    published = artifacts.publish(PREFIX, folder)
    manifest = artifacts.manifest(PREFIX)
    assert manifest == published
    assert {file.name for file in manifest.files} == {"model.safetensors", "README.md", "empty.txt", "sub/config.json"}
    assert manifest.archive is None
    for file in manifest.files:
        body = read(artifacts, file.name, 0, file.bytes)
        assert (len(body), hashlib.sha256(body).hexdigest()) == (file.bytes, file.sha256)
    assert manifest.find("model.safetensors").media_type == "application/octet-stream"
    assert manifest.find("README.md").media_type.startswith("text/markdown")


@pytest.mark.parametrize(
    ("start", "end"), [(0, 1), (5, 5), (1_048_575, 1_048_577), (2_999_990, 3_000_001), (7, 3_000_000)]
)
def test_ranges_do_not_include_their_end(artifacts: ArtifactStore, folder: Path, start: int, end: int) -> None:
    artifacts.publish(PREFIX, folder)
    assert read(artifacts, "model.safetensors", start, end) == WEIGHTS[start:end]


def test_a_large_file_comes_in_pieces(tmp_path: Path, folder: Path) -> None:
    artifacts = ArtifactStore(f"file://{tmp_path}/artifacts")
    artifacts.publish(PREFIX, folder)
    pieces = [len(piece) for piece in artifacts.open_range(PREFIX, "model.safetensors", 0, len(WEIGHTS))]
    assert sum(pieces) == len(WEIGHTS)
    assert max(pieces) < len(WEIGHTS)


@pytest.mark.parametrize(
    "name", ["missing.txt", "sub", "../1-aa/README.md", "sub/../README.md", "/README.md", "", ".", "a//b"]
)
def test_a_name_that_is_no_file_of_it_is_not_found(artifacts: ArtifactStore, folder: Path, name: str) -> None:
    artifacts.publish(PREFIX, folder)
    for end in (0, 10):
        with pytest.raises(LayercutError) as caught:
            artifacts.open_range(PREFIX, name, 0, end)
        assert caught.value.code == "file_not_found"
    with pytest.raises(LayercutError, match=r"README\.md") as caught:
        artifacts.manifest(PREFIX).find(name)
    assert caught.value.code == "file_not_found"


def test_a_forged_manifest_leads_no_download_out_of_its_folder(folder: Path, tmp_path: Path) -> None:
    artifacts = ArtifactStore(f"file://{tmp_path}/artifacts")
    artifacts.publish(PREFIX, folder)
    (manifest,) = (tmp_path / "artifacts" / PREFIX).glob("*manifest*")
    manifest.write_text(manifest.read_text().replace('"README.md"', '"../escaped"'))
    with pytest.raises(LayercutError, match="not the name of a file"):
        artifacts.fetch(PREFIX, tmp_path / "new" / "folder")
    assert not (tmp_path / "new" / "escaped").exists()


def test_what_is_read_from_a_folder_that_goes_away_is_not_missing(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "artifacts"
    artifacts = ArtifactStore(f"file://{root}")
    first, second, *_ = artifacts.publish(PREFIX, folder).files
    chunks = artifacts.open_range(PREFIX, first.name, 0, first.bytes)
    away = root.rename(tmp_path / "away")
    for call in (
        lambda: artifacts.open_range(PREFIX, second.name, 0, second.bytes),
        lambda: artifacts.open_range(PREFIX, second.name, 0, 0),
        lambda: artifacts.open_files(PREFIX, [first.name, second.name]),
        lambda: artifacts.manifest(PREFIX),
        lambda: artifacts.fetch(PREFIX, tmp_path / "new"),
    ):
        with pytest.raises(LayercutError) as caught:
            call()
        assert caught.value.code == "storage_unavailable"
    away.rename(root)
    assert b"".join(chunks) == (folder / first.name).read_bytes()


@pytest.mark.parametrize("prefix", ["..", "jobs/../../etc", "/etc", "jobs//x", "", "a\\..\\b", "a\0b"])
def test_no_prefix_leads_out_of_the_store(artifacts: ArtifactStore, folder: Path, prefix: str) -> None:
    for call in (
        lambda: artifacts.publish(prefix, folder),
        lambda: artifacts.manifest(prefix),
        lambda: artifacts.open_range(prefix, "README.md", 0, 1),
        lambda: artifacts.delete(prefix),
        lambda: artifacts.sweep(prefix, 1, None),
    ):
        with pytest.raises(LayercutError) as caught:
            call()
        assert caught.value.code == "file_not_found"


def test_a_link_out_of_the_folder_is_not_published(artifacts: ArtifactStore, folder: Path) -> None:
    (folder / "passwd").symlink_to("/etc/passwd")
    with pytest.raises(LayercutError, match="passwd") as caught:
        artifacts.publish(PREFIX, folder)
    assert caught.value.code == "export_failed"
    with pytest.raises(LayercutError):
        artifacts.manifest(PREFIX)


def broken(path: Path) -> Iterator[bytes]:
    yield path.read_bytes()[:100]
    raise FileNotFoundError(path)


def test_an_upload_that_broke_off_is_no_artifact_and_can_be_made_again(artifacts: ArtifactStore, folder: Path) -> None:
    upload = artifacts.upload(PREFIX)
    upload.put("README.md", 4, [b"abcd"])
    with pytest.raises(FileNotFoundError):
        upload.put("model.safetensors", len(WEIGHTS), broken(folder / "model.safetensors"))
    assert read(artifacts, "README.md", 0, 3) == b"abc"
    with pytest.raises(LayercutError) as caught:
        artifacts.manifest(PREFIX)
    assert caught.value.code == "file_not_found"

    artifacts.publish(PREFIX, folder)
    for file in artifacts.manifest(PREFIX).files:
        assert hashlib.sha256(read(artifacts, file.name, 0, file.bytes)).hexdigest() == file.sha256


def test_what_has_another_size_than_was_said_is_not_published(artifacts: ArtifactStore) -> None:
    for blocks in ([b"abc"], [b"abc", b"de"]):
        with pytest.raises(LayercutError, match="was to have 4 bytes"):
            artifacts.upload(PREFIX).put("vocab.txt", 4, blocks)


@pytest.mark.parametrize("name", ["manifest.json", "sub/manifest.json", "Manifest.JSON"])
def test_no_file_takes_the_manifests_name(artifacts: ArtifactStore, folder: Path, name: str) -> None:
    (folder / name).write_text("{}")
    with pytest.raises(LayercutError, match=name) as caught:
        artifacts.publish(PREFIX, folder)
    assert caught.value.code == "export_failed"
    with pytest.raises(LayercutError):
        artifacts.manifest(PREFIX)


def test_nor_do_two_files_have_one_name(artifacts: ArtifactStore) -> None:
    upload = artifacts.upload(PREFIX)
    upload.put("vocab.txt", 1, [b"a"])
    with pytest.raises(LayercutError, match="taken"):
        upload.put("vocab.txt", 1, [b"a"])


@pytest.mark.parametrize("size", [3 * CHUNK_BYTES, PART_BYTES + 3 * CHUNK_BYTES])
def test_an_upload_that_nobody_waits_for_ends_between_two_blocks(artifacts: ArtifactStore, size: int) -> None:
    sent: list[int] = []

    def blocks() -> Iterator[bytes]:
        while True:
            sent.append(CHUNK_BYTES)
            yield bytes(CHUNK_BYTES)

    upload = artifacts.upload(PREFIX, lambda: sum(sent) >= size)
    with pytest.raises(UploadStopped):
        upload.put("model.safetensors", size, blocks())
    assert sum(sent) == size
    with pytest.raises(LayercutError):
        read(artifacts, "model.safetensors", 0, 1)
    with pytest.raises(UploadStopped):
        upload.finish()
    with pytest.raises(LayercutError):
        artifacts.manifest(PREFIX)


def test_a_file_in_parts_comes_back(artifacts: ArtifactStore, folder: Path) -> None:
    (folder / "large").write_bytes(os.urandom(PART_BYTES + 1))
    file = artifacts.publish(PREFIX, folder).find("large")
    body = read(artifacts, "large", 0, file.bytes)
    assert body == (folder / "large").read_bytes()
    assert (file.bytes, file.sha256) == (PART_BYTES + 1, hashlib.sha256(body).hexdigest())


def test_a_list_that_is_too_long_is_neither_written_nor_read(
    artifacts: ArtifactStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts.publish(PREFIX, folder)
    monkeypatch.setattr("store.manifests.MAX_MANIFEST_BYTES", 100)
    with pytest.raises(LayercutError, match="manifest"):
        artifacts.manifest(PREFIX)
    with pytest.raises(LayercutError, match="4 files"):
        artifacts.publish(f"{PREFIX}b", folder)


def test_deleting_takes_this_artifact_and_no_neighbour(artifacts: ArtifactStore, folder: Path) -> None:
    artifacts.publish(PREFIX, folder)
    artifacts.publish(f"{PREFIX}b", folder)
    artifacts.delete(PREFIX)
    artifacts.delete(PREFIX)
    with pytest.raises(LayercutError):
        artifacts.manifest(PREFIX)
    with pytest.raises(LayercutError):
        read(artifacts, "README.md", 0, 1)
    assert len(artifacts.manifest(f"{PREFIX}b").files) == 4


def test_a_sweep_keeps_the_winner_and_other_jobs(artifacts: ArtifactStore, folder: Path) -> None:
    others = ["jobs/job_1/attempts/2-bb", "jobs/job_1/attempts/1-aaa", "jobs/job_10/attempts/1-cc"]
    for prefix in (PREFIX, *others):
        artifacts.publish(prefix, folder)
    assert artifacts.sweep("job_1", 9, PREFIX) == 2 * 5
    assert len(artifacts.manifest(PREFIX).files) == 4
    assert len(artifacts.manifest("jobs/job_10/attempts/1-cc").files) == 4
    for prefix in others[:2]:
        with pytest.raises(LayercutError):
            artifacts.manifest(prefix)
    assert artifacts.sweep("job_1", 9, None) == 5
    assert artifacts.sweep("job_1", 9, None) == 0


FULL_DISK = """
import sys
from collections.abc import Iterator
from pathlib import Path
from api_schemas.errors import LayercutError
from store.artifacts import ArtifactStore
root, folder = map(Path, sys.argv[1:])
try:
    ArtifactStore(f"file://{root}").publish("p", folder)
except LayercutError as error:
    print(error.code, (root / "p" / "manifest.json").exists())
"""


def test_a_full_disk_is_said_to_be_full(folder: Path, tmp_path: Path) -> None:
    """On a real disk of 512 KiB, which only the child process sees."""
    disk = tmp_path / "disk"
    disk.mkdir()
    said = run_privately('mount -t tmpfs -o size=512k tmpfs "$1"', FULL_DISK, disk, folder)
    assert said.split() == ["storage_full", "False"]
