"""What of a sentence-transformers folder is carried over, and what is refused before anything of it is loaded."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import constants
from safetensors.numpy import save

from api_schemas.errors import LayercutError
from api_schemas.requests import ModelRef
from sources import strict_json
from sources.model_folder import folder_modules, folder_of, read_facts
from sources.models import fetch, inspect
from sources.settings import SourceSettings
from tests.support.hub_server import HubServer
from tests.support.tiny_checkpoints import WIDTH, bert_files

ID = "acme/tiny-embedder"
OLD, NEW = "sentence_transformers.models", "sentence_transformers.sentence_transformer.modules"
BASE = "sentence_transformers.base.modules"
MODULES = [("", f"{OLD}.Transformer"), ("1_Pooling", f"{OLD}.Pooling"), ("2_Dense", f"{OLD}.Dense")]
DENSE = save({"linear.weight": np.zeros((4, WIDTH), np.float32), "linear.bias": np.zeros(4, np.float32)})


def listed(*modules: tuple[str, str]) -> bytes:
    rows = [{"idx": at, "name": str(at), "path": path, "type": type} for at, (path, type) in enumerate(modules)]
    return json.dumps(rows).encode()


def files(**changed: bytes | None) -> dict[str, bytes]:
    """A whole folder; ``None`` leaves a file out."""
    found = {
        **bert_files(3),
        "modules.json": listed(*MODULES),
        "config_sentence_transformers.json": b'{"prompts": {"query": "query: "}}',
        "sentence_bert_config.json": b'{"max_seq_length": 16, "do_lower_case": false}',
        "1_Pooling/config.json": b'{"word_embedding_dimension": 8, "pooling_mode_cls_token": true}',
        "2_Dense/config.json": b'{"in_features": 8, "out_features": 4, "activation_function": "torch.nn.Tanh"}',
        "2_Dense/model.safetensors": DENSE,
        **changed,
    }
    return {name: content for name, content in found.items() if content is not None}


def write(folder: Path, contents: dict[str, bytes]) -> Path:
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def refusal(folder: Path) -> LayercutError:
    with pytest.raises(LayercutError) as caught:
        inspect(ModelRef(id=str(folder)), SourceSettings(model_roots=[folder.parent]))
    assert caught.value.param == "/model"
    return caught.value


def test_the_modules_are_known_in_order(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", files())
    facts = read_facts(folder_of(folder, str(folder)), ModelRef(id=str(folder)))
    assert facts.modules == ["Transformer", "Pooling", "Dense"]
    found = folder_modules(folder_of(folder, "x"))
    assert found is not None
    assert found.max_seq_length == 16
    assert set(found.files) == files().keys() - bert_files(3).keys()


def test_another_folder_has_none(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", bert_files(3))
    assert read_facts(folder_of(folder, "x"), ModelRef(id="x")).modules is None


@pytest.mark.parametrize(
    ("transformer", "pooling", "normalize"),
    [
        (f"{OLD}.Transformer", f"{OLD}.Pooling", f"{OLD}.Normalize"),
        (f"{OLD}.Transformer.Transformer", f"{OLD}.Pooling.Pooling", f"{OLD}.Normalize.Normalize"),
        (f"{BASE}.transformer.Transformer", f"{NEW}.pooling.Pooling", f"{BASE}.normalize.Normalize"),
        (f"{NEW}.Transformer", f"{NEW}.Pooling", f"{NEW}.normalize.Normalize"),
    ],
)
def test_types_are_known_by_the_names_of_every_release(
    transformer: str, pooling: str, normalize: str, tmp_path: Path
) -> None:
    modules = listed(("", transformer), ("1_Pooling", pooling), ("2_Normalize", normalize))
    folder = write(tmp_path / "model", files(**{"modules.json": modules}))
    assert read_facts(folder_of(folder, "x"), ModelRef(id="x")).modules == ["Transformer", "Pooling", "Normalize"]


@pytest.mark.parametrize(
    ("modules", "code", "said"),
    [
        (listed(MODULES[0], ("../1_Pooling", MODULES[1][1])), "model_not_allowed", "like '1_Pooling'"),
        (listed(MODULES[0], ("/etc/1_Pooling", MODULES[1][1])), "model_not_allowed", "must be a folder beside it"),
        (listed(MODULES[0], ("a/1_Pooling", MODULES[1][1])), "model_not_allowed", "must be a folder beside it"),
        (listed(MODULES[0], ("1_Pooling\n", MODULES[1][1])), "model_not_allowed", "must be a folder beside it"),
        (listed(("0_Transformer", MODULES[0][1]), MODULES[1]), "model_invalid", "write the path ''"),
        (listed(MODULES[0], ("1_Mine", "mine.Pooling")), "model_not_allowed", "code of its own"),
        (listed(MODULES[0], ("1_x", "os.system")), "model_not_allowed", "supported are Transformer, Pooling"),
        (listed(MODULES[0], ("1_x", f"{OLD}.tokenizer.Pooling")), "model_invalid", "cannot be carried over"),
        (listed(MODULES[0], ("1_x", f"{OLD}.WeightedLayerPooling")), "model_invalid", "one weight a layer"),
        (listed(("", f"{BASE}.router.Router")), "model_invalid", "models of their own"),
        (listed(("", f"{OLD}.CLIPModel")), "model_invalid", "CLIPModel.*plain transformers model"),
        (listed(MODULES[0], ("1_LSTM", f"{OLD}.LSTM"), MODULES[1]), "model_invalid", "LSTM"),
        (listed(MODULES[0]), "model_invalid", "one Transformer, first, and a Pooling"),
        (listed(MODULES[1], MODULES[0]), "model_invalid", "one Transformer, first"),
        (b"[]", "model_invalid", "not a list of 1 to"),
        (b"[" + b"[" * 100_000, "model_invalid", "modules.json has 100001 values or more"),
        (b'[{"type": 1, "path": ""}]', "model_invalid", "no name, path and type for module 0"),
        (b"[]" + b" " * strict_json.OTHERS.bytes, "model_invalid", "bytes; at most"),
    ],
)
def test_modules_that_cannot_be_carried_are_refused_with_what_would_be_right(
    modules: bytes, code: str, said: str, tmp_path: Path
) -> None:
    error = refusal(write(tmp_path / "model", files(**{"modules.json": modules})))
    assert error.code == code
    assert re.search(said, error.message), error.message


@pytest.mark.parametrize(
    ("name", "content", "code", "said"),
    [
        ("1_Pooling/config.json", None, "model_invalid", "1_Pooling/config.json is not there"),
        ("1_Pooling/config.json", b"{", "model_invalid", "1_Pooling/config.json is not JSON"),
        ("1_Pooling/config.json", b'{"pooling_mode": "middle"}', "model_invalid", "'middle'; there are cls"),
        ("2_Dense/config.json", b'{"activation_function": "os.system"}', "model_not_allowed", "a class of torch.nn"),
        ("2_Dense/config.json", b'{"activation_function": "torch.load"}', "model_not_allowed", "a class of torch.nn"),
        ("2_Dense/model.safetensors", None, "model_invalid", "no model.safetensors"),
        ("2_Dense/model.safetensors", b"version https://git-lfs", "model_invalid", "model.safetensors"),
        ("config_sentence_transformers.json", b'{"model_type": "SparseEncoder"}', "model_invalid", "SparseEncoder"),
        ("config_sentence_transformers.json", b'{"prompts": {"query": 1}}', "model_invalid", "prompts"),
        *(
            (
                "config_sentence_transformers.json",
                b'{"prompts": {"1": "x"}, "default_prompt_name": ' + name + b"}",
                "model_invalid",
                "and no such prompt",
            )
            for name in (b"[]", b"{}", b"1", b'"query"')
        ),
        ("sentence_bert_config.json", b'{"max_seq_length": "16"}', "model_not_allowed", "max_seq_length"),
        ("sentence_bert_config.json", b'{"tokenizer_name_or_path": "/etc"}', "model_not_allowed", "tokenizer_name"),
        ("sentence_bert_config.json", b'{"model_args": {"revision": "x"}}', "model_not_allowed", "model_args"),
        (
            "sentence_bert_config.json",
            b'{"modality_config": {"text": {"method": "save_pretrained", "method_output_name": "x"}}}',
            "model_not_allowed",
            "modality_config",
        ),
    ],
)
def test_files_that_are_broken_or_ask_for_more_are_refused(
    name: str, content: bytes | None, code: str, said: str, tmp_path: Path
) -> None:
    error = refusal(write(tmp_path / "model", files(**{name: content})))
    assert error.code == code
    assert said in error.message


def test_settings_behind_an_empty_file_are_checked_too(tmp_path: Path) -> None:
    """Where one file is empty, sentence-transformers reads the next."""
    hidden = {"sentence_bert_config.json": b"{}", "sentence_roberta_config.json": b'{"tokenizer_name_or_path": "/etc"}'}
    error = refusal(write(tmp_path / "one", files(**hidden)))
    assert error.code == "model_not_allowed"
    assert "sentence_roberta_config.json" in error.message
    longest = {"sentence_bert_config.json": b"{}", "sentence_roberta_config.json": b'{"max_seq_length": 24}'}
    found = folder_modules(folder_of(write(tmp_path / "two", files(**longest)), "x"))
    assert found is not None
    assert found.max_seq_length == 24


def test_a_pickle_alone_is_refused_and_beside_safetensors_left_out(tmp_path: Path) -> None:
    pickled = {"2_Dense/pytorch_model.bin": b"a pickle"}
    error = refusal(write(tmp_path / "one", files(**pickled, **{"2_Dense/model.safetensors": None})))
    assert error.code == "model_invalid"
    assert "a pickle, which can run code" in error.message
    found = folder_modules(folder_of(write(tmp_path / "two", files(**pickled)), "x"))
    assert found is not None
    assert "2_Dense/pytorch_model.bin" not in found.files


def test_a_link_out_of_a_modules_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text('{"key": "secret"}')
    folder = write(tmp_path / "models" / "one", files(**{"1_Pooling/config.json": None}))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").symlink_to(tmp_path / "secret.json")
    error = refusal(folder)
    assert error.code == "model_not_allowed"
    assert "'1_Pooling/config.json'" in error.message
    assert "secret" not in error.message


def test_the_encoder_of_an_encoder_decoder_is_none_of_its_own(tmp_path: Path) -> None:
    config = {"model_type": "t5", "num_layers": 3, "d_model": 8, "vocab_size": 11}
    tensors = {
        f"{stack}.block.{layer}.layer.0.layer_norm.weight": np.zeros(8, np.float32)
        for stack in ("encoder", "decoder")
        for layer in range(3)
    }
    changed = {"config.json": json.dumps(config).encode(), "model.safetensors": save(tensors)}
    error = refusal(write(tmp_path / "model", files(**changed)))
    assert "encoder-decoder" in error.message


def test_where_a_classifier_is_trained_the_modules_are_not_looked_at(tmp_path: Path) -> None:
    modules = listed(MODULES[0], ("1_x", f"{OLD}.WeightedLayerPooling"))
    folder = write(tmp_path / "model", files(**{"modules.json": modules}))
    settings = SourceSettings(model_roots=[tmp_path])
    facts = inspect(ModelRef(id=str(folder)), settings, modules=False)
    assert facts is not None
    assert facts.modules is None


SETTINGS = SourceSettings(hub_timeout_seconds=5)
REF = ModelRef(id=ID)


def test_a_hub_model_is_refused_by_its_list_alone(hub: HubServer) -> None:
    changed = {"2_Dense/pytorch_model.bin": b"x", "2_Dense/model.safetensors": None}
    hub.add(ID, files(**changed))
    ways: list[Callable[[], Any]] = [lambda: inspect(REF, SETTINGS), lambda: fetch(REF, SETTINGS)]
    for ask in ways:
        with pytest.raises(LayercutError, match="a pickle, which can run code"):
            ask()
    assert not Path(constants.HF_HUB_CACHE).exists(), "nothing was downloaded"


def test_of_a_hub_model_the_modules_files_come_and_no_others(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    unwanted = {"2_Dense/pytorch_model.bin": b"x", "1_Pooling/evil.py": b"x", "onnx/config.json": b"{}"}
    hub.add(ID, files(**unwanted))
    facts = inspect(REF, SETTINGS)
    assert facts is not None
    assert facts.modules == ["Transformer", "Pooling", "Dense"]
    folder = fetch(REF, SETTINGS)
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == files().keys()
    assert read_facts(folder_of(folder, REF.id), REF).modules == facts.modules
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    offline = inspect(REF, SETTINGS)
    assert offline is not None
    assert offline.modules == facts.modules


def pooling(width: int, *modes: str) -> bytes:
    return json.dumps({"embedding_dimension": width, "pooling_mode": modes[0] if len(modes) == 1 else modes}).encode()


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("1_Pooling/config.json", pooling(16, "mean"), "takes vectors of 16, and the model makes 8"),
        ("1_Pooling/config.json", b'{"word_embedding_dimension": 4}', "takes vectors of 4, and the model makes 8"),
        ("1_Pooling/config.json", pooling(8, "mean", "max"), "2_Dense/config.json .* takes vectors of 8, .* makes 16"),
        ("1_Pooling/config.json", b'{"word_embedding_dimension": 8, "pooling_mode_cls_token": true,'
         b' "pooling_mode_max_tokens": true}', "2_Dense/config.json .* takes vectors of 8, .* makes 16"),
        ("2_Dense/config.json", b'{"in_features": 768, "out_features": 4}', "takes vectors of 768, .* makes 8"),
    ],
)  # fmt: skip
def test_modules_that_do_not_fit_are_refused(tmp_path: Path, name: str, content: bytes, text: str) -> None:
    folder = write(tmp_path / "models" / "one", files(**{name: content}))
    error = refusal(folder)
    assert error.code == "model_invalid"
    assert re.search(text, error.message)


def test_each_module_takes_what_the_one_before_it_makes(tmp_path: Path) -> None:
    modules = [*MODULES, ("3_LayerNorm", f"{NEW}.layer_norm.LayerNorm"), ("4_Dense", f"{OLD}.Dense")]
    more = {
        "modules.json": listed(*modules),
        "3_LayerNorm/config.json": b'{"dimension": 4}', "3_LayerNorm/model.safetensors": DENSE,
        "4_Dense/config.json": b'{"in_features": 4, "out_features": 2}', "4_Dense/model.safetensors": DENSE,
    }  # fmt: skip
    folder = write(tmp_path / "models" / "one", files(**more))
    settings = SourceSettings(model_roots=[folder.parent])
    facts = inspect(ModelRef(id=str(folder)), settings)
    assert facts is not None
    assert facts.modules == ["Transformer", "Pooling", "Dense", "LayerNorm", "Dense"]
    (folder / "3_LayerNorm" / "config.json").write_text('{"dimension": 8}')
    assert "3_LayerNorm/config.json" in refusal(folder).message


def test_a_module_that_reads_the_tokens_is_believed(tmp_path: Path) -> None:
    """A Pooling after a Dense of tokens takes what that makes; what it does not say, sentence-transformers checks."""
    modules = [MODULES[0], ("1_Dense", f"{OLD}.Dense"), ("2_Pooling", f"{OLD}.Pooling")]
    dense = {"in_features": 8, "out_features": 4, "module_input_name": "token_embeddings"}
    folder = write(tmp_path / "models" / "one", files(**{
        "modules.json": listed(*modules), "1_Dense/config.json": json.dumps(dense).encode(),
        "1_Dense/model.safetensors": DENSE, "2_Pooling/config.json": pooling(4, "mean"),
    }))  # fmt: skip
    facts = inspect(ModelRef(id=str(folder)), SourceSettings(model_roots=[folder.parent]))
    assert facts is not None
    assert facts.modules == ["Transformer", "Dense", "Pooling"]
