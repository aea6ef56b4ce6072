"""A sentence-transformers folder keeps its modules, its prompts and its longest input; and that is verified."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from api_schemas.architectures import ARCHITECTURES
from api_schemas.errors import LayercutError
from api_schemas.requests import ModelRef
from sources.model_folder import folder_modules, folder_of, read_facts
from tests.support.embedding_models import (
    NORMALIZE,
    WIDTH,
    add_modules,
    cut_by_hand,
    dense,
    distance,
    embedding_model,
    write_json,
)
from tests.support.tiny_models import SENTENCES
from workers.export.embeddings import Embeddings, copy_modules, expect_embeddings
from workers.export.files import export_model, export_stream
from workers.export.verification.embedding_checks import check_sentence_transformers, load_embedding_model
from workers.pruning.surgery import drop_layers
from workers.runtime.loading import load_source, load_tokenizer

KEPT = [0, 1, 4, 5]
PROMPTS = {"prompts": {"query": "the crew asked: ", "passage": "a play, "}, "default_prompt_name": "query"}


def pooling(*modes: str, **more: Any) -> dict[str, Any]:
    return {"word_embedding_dimension": WIDTH, **{f"pooling_mode_{mode}": True for mode in modes}, **more}


NORM_WEIGHTS = {"norm.weight": torch.linspace(0.5, 2, WIDTH), "norm.bias": torch.linspace(-1, 1, WIDTH)}
LAYER_NORM = ("LayerNorm", {"dimension": WIDTH}, NORM_WEIGHTS)
CASES: dict[str, dict[str, Any]] = {
    "cls": {"more": [NORMALIZE]},
    "max": {"pooling": pooling("max_tokens")},
    "mean": {"pooling": pooling("mean_tokens"), "more": [dense(WIDTH, 8), NORMALIZE]},
    "mean_sqrt_len": {"pooling": pooling("mean_sqrt_len_tokens")},
    "weightedmean": {"pooling": pooling("weightedmean_tokens"), "more": [("Dropout", {"dropout": 0.5}, {})]},
    "lasttoken": {"pooling": pooling("lasttoken")},
    "concatenated": {"pooling": pooling("cls_token", "max_tokens"), "more": [dense(2 * WIDTH, 8)]},
    "prompts": {"pooling": pooling("mean_tokens", include_prompt=False), "settings": PROMPTS},
    "layer_norm": {
        "more": [
            ("LayerNorm", {"dimension": WIDTH}, {"norm.weight": torch.rand(WIDTH), "norm.bias": torch.rand(WIDTH)})
        ]
    },
    "as_releases_5_4_write_it": {
        "pooling": {"embedding_dimension": WIDTH, "pooling_mode": ["mean", "max"]},
        "home": "sentence_transformers.sentence_transformer.modules",
        "transformer_task": "feature-extraction",
        "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        "module_output_name": "token_embeddings",
    },
    "masked_lm": {"head": "masked_lm", "more": [NORMALIZE]},
    "distilbert": {"architecture": "distilbert"},
    "decoder": {"architecture": "qwen3", "head": "causal_lm", "pooling": pooling("lasttoken")},
}


@dataclass
class Delivered:
    source: Path
    folder: Path
    embeddings: Embeddings

    def check(self) -> tuple[bool, str]:
        asked = {"folder": str(self.folder), "dtype": "float32", "mapped": False, "embeddings": self.embeddings.asked()}
        return check_sentence_transformers(asked, None)


def delivered(source: Path, *, kept: list[int] = KEPT, dtype: torch.dtype | None = None) -> Delivered:
    """As a job does it; ``dtype`` as it is asked for."""
    facts, modules = (
        read_facts(folder_of(source, "x"), ModelRef(id=str(source))),
        folder_modules(folder_of(source, "x")),
    )
    assert modules is not None
    model, tokenizer, architecture = (
        load_source(source, facts),
        load_tokenizer(source),
        ARCHITECTURES[facts.architecture],
    )
    drop_layers(model, architecture, kept)
    folder = source.with_name("artifact")
    if dtype is None:
        export_stream(model, tokenizer, folder, source=source, architecture=architecture, kept=kept)
    else:
        export_model(model.to(dtype), tokenizer, folder, dtype)
    copy_modules(modules, source, folder)
    path = source.with_name("expected.safetensors")
    expected = expect_embeddings(modules, source, model, path, dtype=torch.float32, positions=facts.max_positions)
    return Delivered(source, folder, expected)


@pytest.mark.parametrize("name", CASES)
def test_vectors_are_those_of_the_source_without_the_layers(name: str, tmp_path: Path) -> None:
    case = dict(CASES[name])
    architecture = case.get("architecture", "bert")
    source = embedding_model(tmp_path / "source", *case.pop("more", ()), **case)
    # From the top of a decoder: who takes layers out by hand need not number them anew.
    kept = KEPT if architecture != "qwen3" else [0, 1, 2, 3]
    made = delivered(source, kept=kept)
    passed, detail = made.check()
    assert passed, detail
    expected = cut_by_hand(source, kept, architecture)
    assert distance(made.folder, expected) < 1e-5
    assert distance(made.folder, load_embedding_model(str(source), torch.float32)) > 1e-3, "the layers were needed"


def test_what_is_carried_is_the_same_byte_for_byte_and_readable(tmp_path: Path) -> None:
    source = embedding_model(tmp_path / "source", dense(WIDTH, 8), NORMALIZE, settings=PROMPTS)
    (source / "2_Dense" / "pytorch_model.bin").write_bytes(b"never read")
    (source / "2_Dense" / "modeling.py").write_text("never read")
    folder = delivered(source).folder
    carried = {"modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"}
    carried |= {"1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"}
    assert all((folder / name).read_bytes() == (source / name).read_bytes() for name in carried)
    assert {(folder / name).stat().st_mode & 0o777 for name in carried} == {0o644}
    nested = {path.relative_to(folder).as_posix() for path in folder.glob("*/*")}
    assert nested == {name for name in carried if "/" in name}


def test_another_dtype_is_the_models_and_a_dense_keeps_its_own(tmp_path: Path) -> None:
    source = embedding_model(tmp_path / "source", dense(WIDTH, 8))
    made = delivered(source, dtype=torch.float16)
    assert made.check()[0]
    assert {weight.dtype for weight in load_file(made.folder / "model.safetensors").values()} == {torch.float16}
    assert distance(made.folder, cut_by_hand(source, KEPT)) < 5e-2


def test_settings_that_the_tokenizer_has_are_kept_too(tmp_path: Path) -> None:
    """Releases from 5.4 on write no max_seq_length: it is the tokenizer's own."""
    source = embedding_model(tmp_path / "source")
    write_json(source / "sentence_bert_config.json", {"do_lower_case": True})
    config = json.loads((source / "tokenizer_config.json").read_text())
    write_json(source / "tokenizer_config.json", {**config, "model_max_length": 12})
    made = delivered(source)
    assert load_embedding_model(str(made.folder), torch.float32).max_seq_length == 12
    assert made.check()[0]
    assert distance(made.folder, cut_by_hand(source, KEPT)) < 1e-5


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("1_Pooling/config.json", pooling("mean_tokens"), "largest difference"),
        ("sentence_bert_config.json", {"max_seq_length": 20}, "max_seq_length is 20, not 16"),
        ("config_sentence_transformers.json", {"prompts": {"query": "why"}}, "prompts is"),
        ("config_sentence_transformers.json", {**PROMPTS, "similarity_fn_name": "dot"}, "similarity_fn_name is dot"),
    ],
)
def test_files_that_are_not_those_of_the_source_are_found(name: str, value: Any, said: str, tmp_path: Path) -> None:
    made = delivered(embedding_model(tmp_path / "source", NORMALIZE, settings=PROMPTS))
    write_json(made.folder / name, value)
    passed, detail = made.check()
    assert not passed
    assert said in detail


def test_a_module_that_is_left_out_is_found(tmp_path: Path) -> None:
    made = delivered(embedding_model(tmp_path / "source", NORMALIZE))
    listed = json.loads((made.folder / "modules.json").read_text())
    write_json(made.folder / "modules.json", listed[:-1])
    passed, detail = made.check()
    assert not passed
    assert "Normalize" in detail


def test_another_layer_than_was_kept_is_found(tmp_path: Path) -> None:
    made = delivered(embedding_model(tmp_path / "source", NORMALIZE))
    tensors = load_file(made.folder / "model.safetensors")
    name = "encoder.layer.3.output.dense.weight"
    save_file({**tensors, name: tensors[name].flip(0)}, made.folder / "model.safetensors", metadata={"format": "pt"})
    assert not made.check()[0]


def test_a_folder_that_sentence_transformers_cannot_use_is_the_models_fault(tmp_path: Path) -> None:
    name, config, weights = dense(WIDTH, 8)
    wider = {**weights, "linear.weight": torch.zeros(8, WIDTH + 1)}  # than its config says, and than what comes in
    source = embedding_model(tmp_path / "source", (name, config, wider))
    with pytest.raises(LayercutError, match="sentence-transformers cannot encode") as caught:
        delivered(source)
    assert (caught.value.code, caught.value.param) == ("model_invalid", "/model")


def test_an_adapter_beside_the_model_is_not_loaded(tmp_path: Path) -> None:
    source = embedding_model(tmp_path / "source")
    write_json(source / "adapter_config.json", {"base_model_name_or_path": "/etc", "peft_type": "LORA"})
    assert delivered(source).check()[0]


def test_a_longest_input_beyond_the_positions_is_not_tried(tmp_path: Path) -> None:
    made = delivered(embedding_model(tmp_path / "source", max_seq_length=512))
    assert made.check()[0]
    assert max(map(len, made.embeddings.texts)) < len(" ".join(SENTENCES))


def test_other_folders_pass_without_the_library(tmp_path: Path) -> None:
    asked = {"folder": str(tmp_path), "dtype": "float32", "mapped": False, "embeddings": None}
    assert check_sentence_transformers(asked, None) == (True, "not a sentence-transformers folder")
    add_modules(tmp_path)
    passed, detail = check_sentence_transformers({**asked, "mapped": True}, None)
    assert passed
    assert "not compared" in detail
