"""Of a model's folder, what its checked index chooses is read, hashed and staged, and no more than is allowed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from api_schemas.errors import LayercutError
from api_schemas.requests import ModelRef
from sources.chosen_files import choose_files
from sources.model_folder import folder_modules, folder_of
from sources.models import inspect
from sources.settings import SourceSettings
from tests.support.model_folders import facts, refused
from tests.support.sparse_files import TERABYTE, stretch, write_huge_weights
from tests.support.tiny_checkpoints import WIDTH, bert_config, bert_files, bert_tensors

Write = Callable[[dict[str, bytes]], Path]

INDEX = "model.safetensors.index.json"
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


def sharded(names: list[str] = SHARDS, index: bytes | None = None) -> dict[str, bytes]:
    """A whole model in two shards."""
    tensors = bert_tensors()
    first = sorted(tensors)[:3]
    parts = [{name: tensors[name] for name in first}, {name: t for name, t in tensors.items() if name not in first}]
    weight_map = {name: shard for shard, part in zip(names, parts, strict=True) for name in part}
    return {
        "config.json": json.dumps(bert_config()).encode(),
        INDEX: index or json.dumps({"weight_map": weight_map}).encode(),
        **{shard: save(part) for shard, part in zip(names, parts, strict=True)},
    }


def chosen(folder: Path) -> set[str]:
    opened = folder_of(folder, "x")
    return set(choose_files(opened, folder_modules(opened)).sizes)


def test_shards_that_the_index_does_not_list_are_left_out(write: Write) -> None:
    folder = write({**sharded(), "pytorch_model.bin.index.json": b"{}"})
    for number in range(1, 300):
        stretch(folder / f"model-{number:05}-of-99999.safetensors")
    assert chosen(folder) == {"config.json", INDEX, *SHARDS}
    assert facts(folder).bytes == sum((folder / name).stat().st_size for name in SHARDS)


def test_beside_one_file_of_weights_all_shards_are_left_out(write: Write) -> None:
    folder = write({**sharded(), **bert_files()})
    stretch(folder / SHARDS[0])
    assert chosen(folder) == {INDEX, *bert_files()}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (sharded(["a.safetensors", "b.safetensors"]), r"lists 'a\.safetensors': shards are called model-\*-of-\*"),
        (sharded(index=b'{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}'), "the key 'a' is there twice"),
        (sharded(index=b'{"weight_map": {}, "weight_map": {"a": "x.safetensors"}}'), "'weight_map' is there twice"),
        (sharded(index=b" " * 5_000_000), f"{INDEX} of .* has 5000000 bytes; at most 4194304 are read"),
    ],
    ids=["names", "tensor twice", "map twice", "too long"],
)
def test_an_index_that_is_none_is_refused(write: Write, files: dict[str, bytes], said: str) -> None:
    refused(write(files), "model_invalid", said)


def test_a_file_with_a_hole_behind_its_tensors_is_refused_with_both_numbers(write: Write) -> None:
    folder = write(bert_files())
    right = (folder / "model.safetensors").stat().st_size
    stretch(folder / "model.safetensors")
    refused(
        folder,
        "model_invalid",
        f"model.safetensors is truncated or broken: it has {TERABYTE} bytes, and its tensors end at {right}",
    )


def test_weights_of_more_bytes_than_are_allowed_are_refused_with_both_numbers(write: Write) -> None:
    folder = write(bert_files())
    size = write_huge_weights(folder / "model.safetensors")
    assert facts(folder).bytes == size
    said = f"have {size} bytes, more than the {size - 1} that LAYERCUT_MAX_MODEL_BYTES"
    with pytest.raises(LayercutError, match=said) as caught:
        inspect(ModelRef(id=str(folder)), SourceSettings(model_roots=[folder.parent], max_model_bytes=size - 1))
    assert (caught.value.code, caught.value.param) == ("ceiling_passed", "/model")


def embedder(folder: Path) -> Path:
    """A sentence-transformers folder with a Dense module."""
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense")]
    modules = [{"name": path, "path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds]
    files = {
        "modules.json": json.dumps(modules).encode(),
        "1_Pooling/config.json": b"{}",
        "2_Dense/config.json": b"{}",
        "2_Dense/model.safetensors": save({"linear.weight": np.zeros((4, WIDTH), np.float32)}),
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_of_modules_those_that_are_listed_are_chosen(write: Write) -> None:
    folder = embedder(write(bert_files()))
    (folder / "3_Dense").mkdir()
    stretch(folder / "3_Dense" / "model.safetensors")
    modules = {"modules.json", "1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"}
    assert chosen(folder) == {*bert_files(), *modules}
    assert set(choose_files(folder_of(folder, "x")).sizes) == {*bert_files(), "modules.json"}, "of a job that trains"


def test_the_weights_of_modules_are_bounded_too(write: Write) -> None:
    folder = embedder(write(bert_files()))
    dense = folder / "2_Dense" / "model.safetensors"
    right = dense.stat().st_size
    stretch(dense)
    refused(folder, "model_invalid", f"2_Dense/model.safetensors .* it has {TERABYTE} bytes, .* end at {right}")

    size = write_huge_weights(dense) + (folder / "model.safetensors").stat().st_size
    with pytest.raises(LayercutError, match=f"have {size} bytes, more than the {TERABYTE} that"):
        inspect(ModelRef(id=str(folder)), SourceSettings(model_roots=[folder.parent], max_model_bytes=TERABYTE))


@pytest.mark.parametrize("name", ["merges.txt", "spiece.model", "special_tokens_map.json"])
def test_a_small_file_of_a_terabyte_is_refused_with_both_numbers(write: Write, name: str) -> None:
    folder = write(bert_files())
    stretch(folder / name)
    refused(folder, "model_invalid", rf"{name}.* has {TERABYTE} bytes; at most \d+ are read")


def test_notices_that_are_none_are_no_fault(write: Write) -> None:
    folder = write({**bert_files(), "LICENSE.txt": b"yours"})
    (folder / "LICENSES").mkdir()
    stretch(folder / "README.md")
    assert chosen(folder) == {*bert_files(), "LICENSE.txt"}
    assert facts(folder).layers == 3
