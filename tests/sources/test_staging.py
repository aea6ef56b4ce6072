"""A job's inputs are copied by allowed names, once, into a folder of its own; nothing else of the host gets there."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from api_schemas.errors import LayercutError
from api_schemas.requests import JobRequest, PlanRequest
from api_schemas.task_spec import TaskSpec
from api_schemas.text_spec import TextSpec
from sources.blocks import Cancelled, never
from sources.fingerprint import FileHashes
from sources.importance import Asked, identify
from sources.models import inspect
from sources.settings import SourceSettings
from sources.staging import Staged, Stager
from sources.tasks import load_task
from tests.support.sparse_files import stretch, write_huge_weights
from tests.support.tiny_checkpoints import bert_files

SECRET = "not for you"
ROWS = "text,label\n" + "\n".join(f"row {at},{at % 2}" for at in range(20)) + "\n"


class Place:
    """Roots with a model and a table, a secret outside of them, and staging into ``inputs``."""

    def __init__(self, folder: Path) -> None:
        self.secret = folder / "secret.txt"
        self.secret.write_text(SECRET)
        self.models, self.data, self.inputs = folder / "models", folder / "data", folder / "inputs"
        for made in (self.models, self.data, self.inputs):
            made.mkdir()
        self.model = self.models / "m"
        self.model.mkdir()
        for name, content in bert_files().items():
            (self.model / name).write_bytes(content)
        self.table = self.data / "rows.csv"
        self.table.write_text(ROWS)
        self.hashes = FileHashes(folder / "hashes")

    @property
    def settings(self) -> SourceSettings:
        return SourceSettings(model_roots=[self.models], data_roots=[self.data])

    def stage(
        self, *, copy_bytes: int = 1 << 30, stopped: Any = never, max_model_bytes: int = 2**50, **body: Any
    ) -> Staged:
        settings = self.settings.model_copy(update={"max_model_bytes": max_model_bytes})
        request = JobRequest.model_validate({"model": str(self.model), "task": "none", **body})
        return Stager(settings, self.hashes, self.inputs, copy_bytes, stopped).stage(request, None)

    def staged_names(self) -> set[str]:
        return {str(path.relative_to(self.inputs)) for path in self.inputs.rglob("*") if not path.is_dir()}

    def own_task(self) -> dict[str, Any]:
        return {"dataset": str(self.table), "text_columns": ["text"], "label_column": "label"}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_model_and_the_table_are_staged_with_their_hashes_and_nothing_else(place: Place) -> None:
    for name in ("pytorch_model.bin", "modeling.py", "adapter_config.json", ".env", "notes.txt"):
        (place.model / name).write_text("x")
    staged = place.stage(task=place.own_task())

    names = place.staged_names()
    assert {"model/config.json", "model/model.safetensors"} <= names
    assert not {name for name in names if name.endswith((".bin", ".py", "adapter_config.json", ".env", "notes.txt"))}
    table = f"files{place.table}"
    assert table in names
    assert staged.inputs.file(str(place.table)).read_text() == ROWS
    assert staged.inputs.sha256[table] == hashlib.sha256(ROWS.encode()).hexdigest()
    assert set(staged.inputs.sha256) == names
    staged.close()


@pytest.mark.parametrize("name", ["vocab.txt", "config.json", "chat_template.jinja"])
def test_a_link_that_leads_out_is_refused(place: Place, name: str) -> None:
    link = place.model / name
    link.unlink(missing_ok=True)
    link.symlink_to(place.secret)

    with pytest.raises(LayercutError) as caught:
        place.stage()
    assert caught.value.code == "model_not_allowed"
    assert SECRET not in "".join(path.read_text("latin-1") for path in place.inputs.rglob("*") if path.is_file())


def test_a_folder_that_no_module_names_is_not_looked_into(place: Place) -> None:
    """Some hundred of them may have such a name, with ten thousand files each."""
    (place.model / "1_Pooling").mkdir()
    (place.model / "1_Pooling" / "config.json").symlink_to(place.secret)
    place.stage().close()
    assert not [name for name in place.staged_names() if "1_Pooling" in name]


def test_a_fifo_is_refused_without_waiting(place: Place) -> None:
    os.mkfifo(place.model / "vocab.json")

    with pytest.raises(LayercutError, match="no regular file"):
        place.stage()


def test_a_large_file_is_handed_over_open_and_what_is_put_in_its_place_is_not_read(place: Place) -> None:
    weights = place.model / "model.safetensors"
    right = weights.read_bytes()
    staged = place.stage(copy_bytes=1000)
    weights.rename(place.model / "before")
    weights.symlink_to(place.secret)

    at = staged.inputs.descriptors.index("model/model.safetensors")
    assert (place.inputs / "model/model.safetensors").readlink() == Path(f"/proc/self/fd/{500 + at}")
    assert staged.handles[at].file.read() == right
    staged.close()


def test_a_file_that_was_handed_over_and_is_changed_is_told(place: Place) -> None:
    staged = place.stage(copy_bytes=1000)
    staged.check_unchanged()
    with (place.model / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x01")

    with pytest.raises(LayercutError, match="changed while the job read it") as caught:
        staged.check_unchanged()
    assert caught.value.code == "model_invalid"
    assert not caught.value.kind.retryable
    staged.close()


def test_a_table_that_grows_while_it_is_copied_is_refused(place: Place) -> None:
    def write_more() -> bool:
        with place.table.open("a") as file:
            file.write("one more,1\n")
        return False

    with pytest.raises(LayercutError, match="changed while the job read it") as caught:
        place.stage(task=place.own_task(), stopped=write_more)
    assert caught.value.code == "dataset_invalid"


def test_shards_that_no_index_lists_are_not_staged(place: Place) -> None:
    for number in range(1, 100):
        stretch(place.model / f"model-{number:05}-of-99999.safetensors")
    staged = place.stage(copy_bytes=1000)

    assert {name for name in place.staged_names() if "safetensors" in name} == {"model/model.safetensors"}
    assert staged.handed == (place.model / "model.safetensors").stat().st_size
    staged.close()


@pytest.mark.parametrize("copy_bytes", [1000, 1 << 60], ids=["handed over", "copied"])
def test_more_weights_than_are_allowed_are_not_staged(place: Place, copy_bytes: int) -> None:
    size = write_huge_weights(place.model / "model.safetensors")

    with pytest.raises(LayercutError, match=f"have {size} bytes, more than the {2**20} that") as caught:
        place.stage(copy_bytes=copy_bytes, max_model_bytes=2**20)
    assert (caught.value.code, caught.value.kind.retryable) == ("ceiling_passed", False)
    assert place.staged_names() == set()


@pytest.mark.parametrize("copy_bytes", [1000, 1 << 30], ids=["handed over", "copied"])
def test_weights_that_become_others_while_the_config_is_copied_are_refused(place: Place, copy_bytes: int) -> None:
    def swap() -> bool:
        stretch(place.model / "model.safetensors")
        return False

    with pytest.raises(LayercutError, match=r"model\.safetensors was changed while the job read it") as caught:
        place.stage(copy_bytes=copy_bytes, stopped=swap)
    assert (caught.value.code, caught.value.kind.retryable) == ("model_invalid", False)


def test_hashing_ends_when_nobody_waits_for_it(place: Place) -> None:
    write_huge_weights(place.model / "model.safetensors")
    asked = iter(range(20))

    with pytest.raises(Cancelled):
        place.stage(task=place.own_task(), copy_bytes=1000, stopped=lambda: next(asked) == 19)


def test_a_runner_knows_its_copy_by_what_the_gateway_knows_the_folder_by(place: Place) -> None:
    for name in ("LICENSE.txt", *(f"LICENSE-{number}.txt" for number in range(9)), "notes.txt"):
        (place.model / name).write_text(name)
    stretch(place.model / "model-00001-of-00002.safetensors")
    request = PlanRequest.model_validate({"model": str(place.model), "task": "none"})
    found = inspect(request.model, place.settings)
    assert found is not None
    asked = Asked.by_plan(request, found)
    known = identify(asked, found, place.settings, place.hashes)

    staged = place.stage()
    inputs = SourceSettings(inputs=staged.inputs)
    place.model.rename(place.models / "gone")
    assert identify(asked, found, inputs, FileHashes(place.inputs / "notes", staged.inputs)) == known
    staged.close()


def test_weights_are_hashed_where_something_is_kept_by_them(place: Place) -> None:
    staged = place.stage(task=place.own_task(), copy_bytes=1000)
    right = hashlib.sha256((place.model / "model.safetensors").read_bytes()).hexdigest()

    assert staged.inputs.sha256["model/model.safetensors"] == right
    staged.close()


def test_staging_ends_when_nobody_waits_for_it(place: Place) -> None:
    stopped = threading.Event()
    stopped.set()

    with pytest.raises(Cancelled):
        place.stage(stopped=stopped.is_set)


def test_a_file_in_a_folder_called_blobs_is_hashed_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    honest = hashlib.sha256(b"honest").hexdigest()
    path = tmp_path / "blobs" / honest
    path.write_bytes(b"an attacker's weights")

    assert FileHashes(tmp_path / "notes").of(path) == hashlib.sha256(b"an attacker's weights").hexdigest()


def test_what_was_staged_is_read_as_json_by_the_runner(place: Place) -> None:
    staged = place.stage()

    assert type(staged.inputs).model_validate_json(staged.inputs.model_dump_json()) == staged.inputs
    assert json.loads((staged.inputs.model / "config.json").read_text())["model_type"] == "bert"
    staged.close()


def test_text_without_labels_and_pairs_are_staged_and_read_where_they_are(place: Place) -> None:
    text, pairs = place.data / "more.txt", place.data / "pairs.csv"
    text.write_text("".join(f"text {at}\n" for at in range(9)))
    pairs.write_text("sentence1,sentence2,score\na,b,1\nc,d,2\n")
    asked = {"dataset": str(text), "kind": "embedding", "pairs": {"dataset": str(pairs)}}
    staged = place.stage(task=asked)
    assert {f"files{text}", f"files{pairs}"} <= place.staged_names()
    data = load_task(TaskSpec.model_validate(asked), SourceSettings(inputs=staged.inputs), 1)
    assert data.pairs is not None
    assert (len(data.train) + len(data.dev["dev"]), len(data.pairs)) == (9, 2)
    staged.close()


def test_text_beside_labelled_rows_is_staged(place: Place) -> None:
    text = place.data / "more.txt"
    text.write_text("one\ntwo\n")
    spec = TextSpec(dataset=str(text))
    staged = place.stage(task=place.own_task(), recovery={"text": spec.model_dump()})
    assert {f"files{text}", f"files{place.table}"} <= place.staged_names()
    task = TaskSpec.model_validate(place.own_task())
    data = load_task(task, SourceSettings(inputs=staged.inputs), 1, spec)
    assert data.text is not None
    assert list(data.text.texts) == [("one",), ("two",)]
    staged.close()


def test_of_pairs_of_glue_the_dev_split_alone_is_staged(place: Place) -> None:
    folder, text = place.data / "glue" / "STS-B", place.data / "more.txt"
    folder.mkdir(parents=True)
    (folder / "dev.tsv").write_text("sentence1\tsentence2\tscore\na\tb\t1\nc\td\t2\n")
    text.write_text("one\ntwo\nthree\n")
    settings = place.settings.model_copy(update={"glue_dir": folder.parent})
    asked = {"dataset": str(text), "kind": "embedding", "pairs": "stsb"}
    request = JobRequest.model_validate({"model": str(place.model), "task": asked})
    staged = Stager(settings, place.hashes, place.inputs, 1 << 30).stage(request, None)
    assert {name for name in place.staged_names() if name.startswith("glue/")} == {"glue/STS-B/dev.tsv"}
    data = load_task(request.task, SourceSettings(inputs=staged.inputs), 1)
    assert data.pairs is not None
    assert list(data.pairs.texts) == [("a", "b"), ("c", "d")]
    staged.close()


def test_a_folder_of_sentences_is_staged(place: Place) -> None:
    folder = place.data / "ner"
    folder.mkdir()
    (folder / "train.conll").write_text("a B-X\n\nb O\n")
    (folder / "dev.conll").write_text("c O\n")
    asked = {"dataset": str(folder), "kind": "token-classification"}
    staged = place.stage(task=asked)
    assert {f"files{folder}/train.conll", f"files{folder}/dev.conll"} <= place.staged_names()
    data = load_task(TaskSpec.model_validate(asked), SourceSettings(inputs=staged.inputs), 1)
    assert (data.label_names, list(data.train.labels)) == (("O", "B-X", "I-X"), [(1,), (0,)])
    staged.close()
