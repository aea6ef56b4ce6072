"""The model among an earlier job's files, looked at by reading no more of it than is needed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from api_schemas.errors import LayercutError
from api_schemas.requests import ModelRef
from sources.inputs import Inputs
from sources.model_folder import folder_of, opened_folder, read_facts
from sources.stored_files import StoredFile, StoredFiles
from sources.stored_model import chosen_files, stored_facts
from tests.support.embedding_models import embedding_model
from tests.support.tiny_models import tiny_model

JOB = "job_0123456789abcdefghjkmnpq"
ROOM = 2**30


class Stored:
    """The files of a folder, as an artifact store has them."""

    def __init__(self, folder: Path, **more: bytes) -> None:
        paths = [path for path in folder.rglob("*") if path.is_file()]
        self._content = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths} | more

    def files(self) -> StoredFiles:
        files = {
            name: StoredFile(len(content), hashlib.sha256(content).hexdigest())
            for name, content in self._content.items()
        }
        return StoredFiles(f"job:{JOB}", files, self._read)

    def _read(self, name: str, start: int, end: int) -> Iterator[bytes]:
        yield self._content[name][start:end]


def test_the_facts_are_those_of_the_folder_and_nothing_else_is_chosen(tmp_path: Path) -> None:
    folder = tiny_model("bert", tmp_path / "bert", head="classification")
    stored = Stored(folder, **{"report.json": b"{}", "README.md": b"# A model"})
    expected = read_facts(folder_of(folder, f"job:{JOB}"), ModelRef(id=f"job:{JOB}"))
    found = stored_facts(stored.files(), modules=True, most=ROOM)
    assert found == expected
    chosen = chosen_files(stored.files(), modules=True)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(chosen)
    assert "report.json" not in chosen


def test_what_is_said_of_a_model_is_no_part_of_its_content(tmp_path: Path) -> None:
    folder = tiny_model("bert", tmp_path / "bert")
    one = Stored(folder, **{"report.json": b"{}", "README.md": b"one"}).files().sha256
    assert one == Stored(folder, **{"report.json": b"{ }", "README.md": b"another"}).files().sha256
    assert one != Stored(folder, **{"vocab.txt": b"other"}).files().sha256


def test_modules_are_carried_where_they_are_wanted(tmp_path: Path) -> None:
    stored = Stored(embedding_model(tmp_path / "bert"))
    assert stored_facts(stored.files(), modules=True, most=ROOM).modules
    assert stored_facts(stored.files(), modules=False, most=ROOM).modules is None
    assert "modules.json" in chosen_files(stored.files(), modules=True)


def test_a_report_alone_is_no_model_and_a_large_one_too_much(tmp_path: Path) -> None:
    alone = StoredFiles(f"job:{JOB}", {"report.json": StoredFile(2, "a" * 64)}, lambda *_: [b"{}"])
    with pytest.raises(LayercutError, match=f"{JOB} evaluated a model"):
        stored_facts(alone, modules=True, most=ROOM)
    with pytest.raises(LayercutError, match="LAYERCUT_MAX_MODEL_BYTES") as caught:
        stored_facts(Stored(tiny_model("bert", tmp_path / "bert")).files(), modules=True, most=100)
    assert caught.value.code == "ceiling_passed"


def test_a_file_that_is_handed_over_of_one_model_is_not_taken_for_the_others(tmp_path: Path) -> None:
    for name, content in (("model", b"the original"), ("from", b"the earlier job's")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(content)
    inputs = Inputs(folder=tmp_path, descriptors=["model/model.safetensors"])
    with opened_folder(inputs.start, "x", inputs).open("model.safetensors") as file:
        assert file.read() == b"the earlier job's"
