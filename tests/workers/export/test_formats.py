"""Every further format says what the model says, in any batch; and one that does not is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from transformers import PreTrainedConfig

from api_schemas.architectures import ARCHITECTURES
from api_schemas.errors import LayercutError
from api_schemas.formats import FORMATS, PLAIN, further
from sources.model_files import is_exported
from tests.support.exported_models import exported
from tests.support.graphs import change_output
from tests.support.tiny_models import build, heads_of, inputs_of, tiny_tokenizer
from workers.export.formats import graph, smaller, writers
from workers.export.formats.session import OnnxModel

FURTHER = [row.name for row in further(list(FORMATS))]
FAMILIES = FORMATS["onnx"].families
#: One of each kind of attention and of positions; all of them are tried before a release.
SOME = ("bert", "gpt2", "modernbert", "deberta-v2")


@pytest.mark.slow
@pytest.mark.parametrize(
    "architecture", [pytest.param(name, marks=() if name in SOME else pytest.mark.long) for name in FAMILIES]
)
def test_every_family_is_written_and_says_the_same(architecture: str, tmp_path: Path) -> None:
    artifact = exported(architecture, tmp_path)
    artifact.write(*FURTHER)
    found = artifact.examine()
    assert artifact.failed() == {}, found
    assert set(FURTHER) < set(found)
    sizes = {row.name: (artifact.folder / row.file).stat().st_size for row in artifact.formats}
    assert sizes["onnx-int8"] < sizes["onnx-bf16"] < sizes["onnx"]


@pytest.mark.slow
@pytest.mark.parametrize("head", ["base", "masked_lm", "token_classification"])
def test_so_is_every_kind_of_head(head: str, tmp_path: Path) -> None:
    artifact = exported("distilbert", tmp_path, head=head, kept=[0, 3])
    artifact.layers = {"n_layers": 2}
    artifact.write("onnx")
    assert artifact.failed() == {}
    (outputs,) = [[each.name for each in onnx.load(artifact.folder / "onnx/model.onnx").graph.output]]
    assert outputs == ["last_hidden_state" if head == "base" else "logits"]


@pytest.mark.slow
def test_a_graph_of_another_model_is_found(tmp_path: Path) -> None:
    artifact = exported("bert", tmp_path / "one", kept=[0, 1])
    artifact.layers = {"num_hidden_layers": 2}
    artifact.write("onnx", "onnx-int8")
    path = artifact.folder / "onnx/model.onnx"
    whole = onnx.load(path)
    # Its text: axes have names, and nothing says where our files lie.
    assert [each.dim_param for each in whole.graph.input[0].type.tensor_type.shape.dim] == [
        "batch_size", "sequence_length"
    ]  # fmt: skip
    assert b"site-packages" not in path.read_bytes()
    bias = next(each for each in whole.graph.initializer if each.name.endswith("classifier.bias"))
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 0.01, bias.name))
    onnx.save(whole, path)
    failed = artifact.failed()
    assert failed.keys() == {"hashes", "onnx"}
    assert "largest difference 0.01 over" in failed["onnx"]
    # What no onnxruntime can read is a check that failed, and no more.
    path.write_bytes(b"no graph")
    assert artifact.failed().keys() == {"hashes", "onnx"}


SILENT, OPPOSITE = ("Sub", 2), ("Neg", 1)


@pytest.mark.slow
@pytest.mark.parametrize("instead", [SILENT, OPPOSITE], ids=["zeros", "the opposite"])
def test_a_graph_in_int8_whose_small_logits_are_others_is_found(instead: tuple[str, int], tmp_path: Path) -> None:
    """Those of a head that learnt nothing are all less than 0.1."""
    artifact = exported("bert", tmp_path, kept=[0, 1])
    artifact.layers = {"num_hidden_layers": 2}
    artifact.write("onnx-int8")
    assert artifact.failed() == {}
    change_output(artifact.folder / "onnx/model_int8.onnx", "logits", *instead)
    assert artifact.failed().keys() == {"hashes", "onnx-int8"}


@pytest.mark.slow
def test_large_tensors_lie_beside_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (graph, smaller):
        monkeypatch.setattr(module, "INLINE_BYTES", 1000)
    artifact = exported("bert", tmp_path, kept=[0, 1])
    artifact.layers = {"num_hidden_layers": 2}
    artifact.write(*FURTHER)
    names = {path.relative_to(artifact.folder).as_posix() for path in artifact.folder.rglob("*.onnx*")}
    assert names == {f"onnx/{name}{data}" for name in ("model.onnx", "model_int8.onnx", "model_bf16.onnx")
                     for data in ("", "_data")}  # fmt: skip
    assert all(map(is_exported, names))
    assert artifact.failed() == {}
    # The graph can be loaded where it is put.
    artifact.folder.rename(tmp_path / "moved")
    assert OnnxModel(tmp_path / "moved/onnx/model_int8.onnx", artifact.model.config)(**inputs_of("bert")).logits.shape


@pytest.mark.slow
def test_what_torch_cannot_follow_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(LayercutError, match="torch cannot follow this model: ") as caught:
        writers.write_formats(
            [FORMATS["onnx"]], build("xlnet", layers=1), tmp_path, inputs=tiny_tokenizer("xlnet").model_input_names
        )
    assert (caught.value.code, caught.value.param) == ("export_failed", "/export/formats")
    assert not list(tmp_path.iterdir())


def test_families_and_heads_are_real() -> None:
    assert set(FAMILIES) < set(ARCHITECTURES)
    assert all("classification" in heads_of(name) for name in FAMILIES)
    assert FORMATS.keys() == {PLAIN, *writers.WRITERS}


@pytest.fixture
def product(tmp_path: Path) -> Path:
    """input_ids (N, 32) as numbers, times a matrix; and what is there of it is too small to be worth anything."""
    draw = np.random.default_rng(0)
    weights = [
        onnx.numpy_helper.from_array(draw.normal(size=(32, 64)).astype(np.float32), "weight"),
        onnx.numpy_helper.from_array(draw.normal(size=64).astype(np.float32), "bias"),
    ]
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["numbers", "weight"], ["products"]),
        helper.make_node("Add", ["products", "bias"], ["logits"]),
    ]
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch_size", 32])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch_size", 64])
    made = helper.make_model(
        helper.make_graph([*nodes], "product", [ids], [logits], weights), opset_imports=[helper.make_opsetid("", 18)]
    )
    made.ir_version = 10
    path = tmp_path / "model.onnx"
    onnx.save(made, path)
    return path


def answers(path: Path) -> torch.Tensor:
    ids = torch.arange(64).reshape(2, 32)
    found: torch.Tensor = OnnxModel(path, PreTrainedConfig())(input_ids=ids).logits
    return found


def test_weights_of_half_the_size_are_rounded_and_nothing_else(product: Path) -> None:
    smaller.write_bf16(product, product.with_name("half.onnx"))
    half = onnx.load(product.with_name("half.onnx"))
    types = {each.name: each.data_type for each in half.graph.initializer}
    assert types == {"weight_bf16": TensorProto.BFLOAT16, "bias": TensorProto.FLOAT}
    matrix = onnx.numpy_helper.to_array(
        next(each for each in onnx.load(product).graph.initializer if each.dims[0] == 32)
    )
    rounded = torch.from_numpy(matrix.copy()).bfloat16().float()
    change = torch.arange(64).reshape(2, 32).float() @ (rounded - torch.from_numpy(matrix.copy()))
    found = answers(product.with_name("half.onnx")) - answers(product)
    assert torch.allclose(found, change, atol=1e-3)
    assert found.abs().max() > 0


def test_int8_is_near_and_a_quarter(product: Path) -> None:
    smaller.write_int8(product, product.with_name("int8.onnx"))
    far = (answers(product.with_name("int8.onnx")) - answers(product)).abs().max() / answers(product).abs().max()
    assert 0 < far < 0.02
    kinds = {
        each.data_type for each in onnx.load(product.with_name("int8.onnx")).graph.initializer if each.dims == [32, 64]
    }
    assert kinds == {TensorProto.INT8}
    assert sorted(path.name for path in product.parent.iterdir()) == ["int8.onnx", "model.onnx"]


def test_a_model_that_is_run_fills_in_what_is_not_given(product: Path) -> None:
    model = OnnxModel(product, PreTrainedConfig())
    given = torch.ones(3, 32, dtype=torch.long)
    found = model(input_ids=given, attention_mask=given, output_hidden_states=True)
    assert found.logits.shape == (3, 64)
    assert model.base_model is model
    assert list(found) == ["logits"]
