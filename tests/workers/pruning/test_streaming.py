"""Layers taken out of files: every tensor as it was, under the right name, whole or not at all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from api_schemas.architectures import ARCHITECTURES
from api_schemas.errors import LayercutError
from sources.headers import read_layout
from tests.support.tiny_models import HEADS, SENTENCES, build, heads_of, tiny_tokenizer
from workers.pruning import streaming
from workers.pruning.streaming import stream_layers
from workers.pruning.surgery import drop_layers

KEPT = [0, 2, 5]
BERT = ARCHITECTURES["bert"]
INDEX = "model.safetensors.index.json"
CASES = [
    ("bert", "masked_lm"), ("bert", "base"), ("roberta", "classification"), ("distilbert", "masked_lm"),
    ("xlnet", "pretraining"), ("albert", "masked_lm"), ("deberta-v2", "classification"),
]  # fmt: skip


def tensors_of(folder: Path) -> dict[str, tuple[str, list[int], bytes]]:
    """All tensors, as the safetensors library reads them: dtype, shape and bytes."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                assert name not in found
                tensor = file.get_tensor(name)
                data = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
                found[name] = (file.get_slice(name).get_dtype(), list(tensor.shape), data)
    return found


def expected(tensors: dict[str, Any], path: str, kept: list[int]) -> dict[str, Any]:
    """What should be left, worked out without the table: ``path`` is where the layers are."""
    left = {}
    for name, tensor in tensors.items():
        before, found, rest = name.rpartition(f"{path}.") if f"{path}." in name else ("", "", name)
        number, _, rest = rest.partition(".") if found else ("", "", rest)
        if not number.isdecimal():
            left[name] = tensor
        elif int(number) in kept:
            left[f"{before}{found}{kept.index(int(number))}.{rest}"] = tensor
    return left


@pytest.mark.parametrize(("architecture", "head"), CASES)
@pytest.mark.parametrize("shard", ["20KB", "5GB"])
def test_what_is_left_is_the_source_and_loads_as_the_stock_class(
    architecture: str, head: str, shard: str, tmp_path: Path
) -> None:
    row, source, target = ARCHITECTURES[architecture], tmp_path / "source", tmp_path / "target"
    assert head in heads_of(architecture)
    model = build(architecture, head=head)
    model.save_pretrained(source, max_shard_size=shard)
    cut = stream_layers(source, target, row, KEPT)

    before, after = tensors_of(source), tensors_of(target)
    assert after == (before if row.shared_layers else expected(before, row.layers, KEPT))
    assert cut.bytes_before == sum(len(data) for *_, data in before.values())
    assert cut.bytes_after == sum(len(data) for *_, data in after.values())
    assert {new: before[old] for new, (_, old) in cut.origins.items()} == after

    loaded, info = HEADS[head].from_pretrained(target, output_loading_info=True)
    assert not any(info.values())
    drop_layers(model, row, KEPT)
    inputs = tiny_tokenizer(architecture)(list(SENTENCES), padding=True, return_tensors="pt")
    with torch.inference_mode():
        assert torch.equal(loaded.eval()(**inputs)[0], model(**inputs)[0])


def test_shards_keep_their_order_and_an_empty_one_is_not_written(tmp_path: Path) -> None:
    names = ["embeddings.a", *(f"encoder.layer.{layer}.w" for layer in range(4)), "pooler.w"]
    checkpoint(tmp_path / "source", [{name: np.full(3, n, np.float32)} for n, name in enumerate(names)], layers=4)
    stream_layers(tmp_path / "source", tmp_path / "target", BERT, [0, 3])
    index = json.loads((tmp_path / "target" / INDEX).read_text())
    assert index["weight_map"] == {
        "embeddings.a": "model-00001-of-00004.safetensors",
        "encoder.layer.0.w": "model-00002-of-00004.safetensors",
        "encoder.layer.1.w": "model-00003-of-00004.safetensors",
        "pooler.w": "model-00004-of-00004.safetensors",
    }
    assert index["metadata"] == {"total_size": 4 * 12, "total_parameters": 12, "made_by": "hand"}
    files = {path.name for path in (tmp_path / "target").iterdir()}
    assert files == {*index["weight_map"].values(), INDEX, "config.json"}
    assert tensors_of(tmp_path / "target")["encoder.layer.1.w"][2] == np.full(3, 4, np.float32).tobytes()


def test_every_dtype_keeps_its_bytes_and_begins_where_it_may(tmp_path: Path) -> None:
    # Odd counts everywhere; and NaNs, which equal nothing but must be the same bytes.
    kinds: list[Any] = [np.bool_, np.int8, np.float16, np.float32, np.int64, np.float64]
    draw = np.random.default_rng(0)
    tensors = {
        f"encoder.layer.{layer}.{kind.__name__}": draw.integers(0, 2, 1 + 2 * layer).astype(kind)
        for layer in range(3)
        for kind in kinds
    } | {
        "nan": np.full(5, np.nan, np.float32),
        "scalar": np.array(1.5, np.float32),
        "none": np.zeros((0, 3), np.int8),
    }
    checkpoint(tmp_path / "source", [tensors], layers=3)
    stream_layers(tmp_path / "source", tmp_path / "target", BERT, [1, 2])
    assert tensors_of(tmp_path / "target") == expected(tensors_of(tmp_path / "source"), "encoder.layer", [1, 2])
    layout = read_layout(tmp_path / "target" / "model.safetensors")
    assert layout.begin % 8 == 0
    assert layout.metadata == {"format": "pt", "note": "ours"}
    widths = {"F16": 2, "F32": 4, "I64": 8, "F64": 8}
    assert all(tensor.start % widths.get(tensor.dtype, 1) == 0 for tensor in layout.tensors.values())


def test_config_says_what_is_left_and_nothing_else_changes(tmp_path: Path) -> None:
    fields = {"num_hidden_layers": 3, "layer_types": ["a", "b", "c"], "id2label": {"0": "schön"}}
    checkpoint(tmp_path / "source", [layer_tensors(3)], layers=3, **fields)
    (tmp_path / "source" / "generation_config.json").write_text('{"eos_token_id": 7}')
    stream_layers(tmp_path / "source", tmp_path / "target", BERT, [0, 2], architectures=["BertModel"])
    before, after = (json.loads((tmp_path / side / "config.json").read_text()) for side in ("source", "target"))
    assert after == before | {"num_hidden_layers": 2, "layer_types": ["a", "c"], "architectures": ["BertModel"]}
    assert (tmp_path / "target" / "generation_config.json").read_text() == '{"eos_token_id": 7}'


def test_overrides_of_single_layers_follow_them(tmp_path: Path) -> None:
    overrides = {"per_layer_config": {"00": {"note": "a"}, "2": {"note": "c"}, "3": {"skip": ["mlp"]}}}
    fields = {**overrides, "per_layer_scales": {"1": 0.5}, "per_layer_kinds": {"full": 1}, "layer_types": list("abcd")}
    checkpoint(tmp_path / "source", [layer_tensors(4)], layers=4, **fields)
    stream_layers(tmp_path / "source", tmp_path / "target", BERT, [0, 3])
    after = json.loads((tmp_path / "target" / "config.json").read_text())
    assert after["per_layer_config"] == {"0": {"note": "a"}, "1": {"skip": ["mlp"]}}
    assert (after["per_layer_scales"], after["per_layer_kinds"]) == (None, {"full": 1})


def test_what_only_the_machine_of_the_source_had_is_not_asked_for_again(tmp_path: Path) -> None:
    flash = {"attn_implementation": "flash_attention_2", "_attn_implementation": "eager", "hidden_size": 8}
    checkpoint(tmp_path / "source", [layer_tensors(2)], layers=2, **flash)
    stream_layers(tmp_path / "source", tmp_path / "target", BERT, [0])
    after = json.loads((tmp_path / "target" / "config.json").read_text())
    assert after == {"model_type": "bert", "num_hidden_layers": 1, "_attn_implementation": "eager", "hidden_size": 8}


@pytest.mark.parametrize("format", ["np", "tf", "flax", "mlx", "pt"])
def test_whatever_library_wrote_the_source_the_copy_is_one_of_torch(format: str, tmp_path: Path) -> None:
    checkpoint(tmp_path / "source", [layer_tensors(2)], layers=2)
    noted = {"format": format, "note": "ours"}
    save_file(layer_tensors(2), tmp_path / "source" / "model.safetensors", metadata=noted)
    stream_layers(tmp_path / "source", tmp_path / "target", BERT, [1])
    assert read_layout(tmp_path / "target" / "model.safetensors").metadata == noted | {"format": "pt"}


def test_how_much_is_copied_is_told_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "BLOCK", 8)
    checkpoint(tmp_path / "source", [layer_tensors(3)], layers=3)
    told: list[tuple[int, int]] = []
    cut = stream_layers(tmp_path / "source", tmp_path / "target", BERT, [1], copied=lambda *of: told.append(of))
    assert len(told) >= cut.bytes_after / 8
    assert told == sorted(told)
    assert told[-1] == (cut.bytes_after, cut.bytes_after)


def test_what_an_earlier_run_left_is_gone(tmp_path: Path) -> None:
    checkpoint(tmp_path / "source", [layer_tensors(3)], layers=3)
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "model-00009-of-00009.safetensors").write_text("old")
    stream_layers(tmp_path / "source", tmp_path / "target", BERT, [0])
    assert {path.name for path in (tmp_path / "target").iterdir()} == {"model.safetensors", "config.json"}
    assert {path.name for path in tmp_path.iterdir()} == {"source", "target"}


def test_a_file_that_shrinks_meanwhile_is_named(tmp_path: Path) -> None:
    checkpoint(tmp_path / "source", [layer_tensors(2)], layers=2)
    path = tmp_path / "source" / "model.safetensors"
    cut = streaming.plan_cut(tmp_path / "source", lambda name: name)
    os.truncate(path, path.stat().st_size - 4)
    with pytest.raises(LayercutError, match=r"model\.safetensors became shorter") as caught:
        streaming.write_cut(cut, tmp_path / "source", tmp_path / "target", {})
    assert caught.value.code == "model_invalid"
    assert not (tmp_path / "target").exists()


STREAM = """
import os, signal, sys
from pathlib import Path
from api_schemas.architectures import ARCHITECTURES
from workers.pruning import streaming
source, target, deadly = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
write = streaming._write
def write_some(shard, path, block):
    yield from write(shard, path, block)
    if path.name == deadly: os.kill(os.getpid(), signal.SIGKILL)
streaming._write = write_some
streaming.stream_layers(source, target, ARCHITECTURES["bert"], [0, 2])
print({"torch", "transformers"} & set(sys.modules) or "", end="")
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")), end="")
"""


def in_fresh_process(source: Path, target: Path, deadly: str = "-") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", STREAM, source, target, deadly]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_killed_in_the_middle_it_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    shards = [{f"encoder.layer.{layer}.w": np.full(3, layer, np.float32)} for layer in range(3)]
    checkpoint(tmp_path / "source", shards, layers=3)
    killed = in_fresh_process(tmp_path / "source", tmp_path / "target", "model-00001-of-00002.safetensors")
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "target").exists()
    again = in_fresh_process(tmp_path / "source", tmp_path / "target")
    assert (again.returncode, again.stderr) == (0, "")
    assert {path.name for path in tmp_path.iterdir()} == {"source", "target"}
    assert len(tensors_of(tmp_path / "target")) == 2


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's account of memory")
def test_memory_does_not_grow_with_the_model_and_torch_is_not_imported(tmp_path: Path) -> None:
    source = tmp_path / "source"
    checkpoint(source, [], layers=3)
    size = 100 << 20
    header = {
        f"encoder.layer.{layer}.w": {"dtype": "U8", "shape": [size], "data_offsets": [layer * size, (layer + 1) * size]}
        for layer in range(3)
    }
    text = json.dumps(header).encode()
    with (source / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + 3 * size)  # a hole: it takes no room on the disk
    done = in_fresh_process(source, tmp_path / "target")
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) < 100_000, "kB, and no module of torch's"
    assert (tmp_path / "target" / "model.safetensors").stat().st_size > 2 * size


def layer_tensors(layers: int) -> dict[str, np.ndarray]:
    return {f"encoder.layer.{layer}.w": np.full(3, layer, np.float32) for layer in range(layers)}


def checkpoint(folder: Path, shards: list[dict[str, np.ndarray]], *, layers: int, **config: Any) -> None:
    """One file, or several with an index."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "num_hidden_layers": layers, **config}))
    names = ["model.safetensors"]
    if len(shards) > 1:
        names = [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
        total = sum(tensor.size for tensors in shards for tensor in tensors.values())
        index = {
            "metadata": {"total_size": 4 * total, "total_parameters": total, "made_by": "hand"},
            "weight_map": {key: name for name, tensors in zip(names, shards, strict=True) for key in tensors},
        }
        (folder / INDEX).write_text(json.dumps(index))
    for name, tensors in zip(names, shards, strict=False):
        save_file(tensors, folder / name, metadata={"note": "ours"})
