"""Data and models that are sent, over connections that break."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from api_schemas.uploads import UploadStatus
from layercut.client import Client, ClientError, LayercutApiError
from tests.support.cut_proxy import CutProxy
from tests.support.live_gateway import LiveGateway, bert

ROWS = "text,label\n" + "".join(f"sentence number {n},{'good' if n % 2 else 'bad'}\n" for n in range(2000))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    path.write_text(ROWS)
    return path


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layercut.client.parts.PART", 10_000)


def test_a_dataset_is_sent_and_a_job_takes_it(client: Client, gateway: LiveGateway, table: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    sent = client.upload_dataset(table, name="reviews", on_progress=lambda *told: seen.append(told))
    assert (sent.status, sent.name, sent.inspection and sent.inspection.rows) == (UploadStatus.READY, "reviews", 2000)
    assert seen[-1] == ("reviews.csv", len(ROWS), len(ROWS))
    assert len(seen) == -(-len(ROWS) // 10_000)
    assert sent.source == f"upload:{sent.id}"
    assert client.dataset(sent.id) == sent
    assert sent.id in [found.id for found in client.datasets()]
    client.delete_dataset(sent.id)
    with pytest.raises(LayercutApiError, match="upload_not_found"):
        client.dataset(sent.id)


def test_parts_go_on_where_a_connection_broke(far: Client, proxy: CutProxy, table: Path) -> None:
    far.limits()
    # Of the answers: the head is lost, or a part of it; the part itself may well have come.
    proxy.cut_after(1, 600, 3000, 1, 1200)
    proxy.cut()
    sent = far.upload_dataset(table)
    assert sent.inspection
    assert sent.inspection.rows == 2000
    assert proxy.connections >= 5


def test_an_upload_is_gone_on_with_by_its_id(client: Client, table: Path) -> None:
    def stop(name: str, done: int, total: int) -> None:
        if done >= 30_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.upload_dataset(table, on_progress=stop)
    [left] = [upload for upload in client.datasets() if upload.status is UploadStatus.UPLOADING]
    places: list[int] = []
    sent = client.upload_dataset(table, resume=left.id, on_progress=lambda _, done, __: places.append(done))
    assert (sent.id, sent.status) == (left.id, UploadStatus.READY)
    assert min(places) > 30_000
    # Once more changes nothing; of another file it is refused.
    assert client.upload_dataset(table, resume=left.id) == sent
    table.write_text(ROWS + "one more,good\n")
    with pytest.raises(ClientError, match="was begun of another"):
        client.upload_dataset(table, resume=left.id)


def test_the_same_files_with_one_key_are_one_upload(client: Client, table: Path) -> None:
    first = client.upload_dataset(table, idempotency_key="nightly")
    assert client.upload_dataset(table, idempotency_key="nightly") == first
    table.write_text(ROWS + "one more,good\n")
    again = client.upload_dataset(table, idempotency_key="nightly")
    assert again.id != first.id
    assert client.upload_dataset(table).id != first.id
    client.delete_dataset(again.id)
    anew = client.upload_dataset(table, idempotency_key="nightly")
    assert anew.status == UploadStatus.READY
    assert anew.id != again.id
    assert client.upload_dataset(table, idempotency_key="nightly") == anew


def test_a_model_is_sent_without_what_is_no_model(client: Client, gateway: LiveGateway, tmp_path: Path) -> None:
    folder = bert(tmp_path / "bert")
    for name in ("pytorch_model.bin", "modeling.py", ".gitattributes", "training_log.txt", "notes.md", "README.md"):
        (folder / name).write_text("# a card")
    (folder / ".git").mkdir()
    (folder / ".git" / "config.json").write_text("{}")
    sent = client.upload_model(folder)
    assert sent.status is UploadStatus.READY
    assert sent.inspection
    assert sent.inspection.layers == 6
    assert {file.name for file in sent.files} == {"config.json", "model.safetensors", "README.md"}
    assert sent.id in [found.id for found in client.models()]
    client.delete_model(sent.id)


def test_what_cannot_be_sent_is_said_before_anything_is(client: Client, table: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(table, other)
    for paths, said in (
        ([], "at least one file"),
        ([table, other / "reviews.csv"], "two files are called 'reviews.csv'"),
        ([tmp_path / "nothing.csv"], "there is no file"),
        ([other], "there is no file"),
    ):
        with pytest.raises(ClientError, match=said):
            client.upload_dataset(*paths)
    with pytest.raises(ClientError, match="there is no folder"):
        client.upload_model(tmp_path / "nothing")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ClientError, match="has no file of a model"):
        client.upload_model(empty)


def test_what_the_service_refuses_is_its_word(client: Client, tmp_path: Path) -> None:
    (tmp_path / "data.exe").write_bytes(b"MZ")
    with pytest.raises(LayercutApiError, match="dataset_invalid"):
        client.upload_dataset(tmp_path / "data.exe")
