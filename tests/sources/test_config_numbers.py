"""Configs whose numbers no stock class could work with are refused before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.model_folders import facts, refused
from tests.support.tiny_checkpoints import bert_config, bert_files
from tests.support.tiny_models import tiny_model

Write = Callable[[dict[str, bytes]], Path]


def edited(folder: Path, **change: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    return folder


@pytest.mark.parametrize("value", [0, -4, "4", 4.0, True, [4]])
@pytest.mark.parametrize("field", ["num_attention_heads", "intermediate_size", "vocab_size", "max_position_embeddings"])
def test_a_size_that_is_none_is_refused(write: Write, field: str, value: Any) -> None:
    folder = write({**bert_files(), "config.json": json.dumps(bert_config(**{field: value})).encode()})
    refused(folder, "model_invalid", rf"says {field} .* a number of at least 1")


@pytest.mark.parametrize(
    ("architecture", "change", "said"),
    [
        ("bert", {"num_attention_heads": 0}, "num_attention_heads 0"),
        ("bert", {"num_attention_heads": 5}, "hidden_size 32 and num_attention_heads 5: .* multiple"),
        ("distilbert", {"n_heads": 0}, "n_heads 0"),
        ("distilbert", {"n_heads": 3}, "dim 32 and n_heads 3"),
        ("gpt2", {"n_head": 0}, "n_head 0"),
        ("gpt2", {"n_head": 3}, "n_embd 32 and n_head 3"),
        ("xlnet", {"n_head": 3}, "d_model 32 and n_head 3"),
        ("xlnet", {"d_inner": 0}, "d_inner 0"),
        ("t5", {"num_heads": 0}, "num_heads 0"),
        ("t5", {"d_kv": 0}, "d_kv 0"),
        ("bart", {"encoder_attention_heads": 0}, "encoder_attention_heads 0"),
        ("bart", {"decoder_attention_heads": 5}, "d_model 32 and decoder_attention_heads 5"),
        ("llama", {"num_key_value_heads": 0}, "num_key_value_heads 0"),
        ("llama", {"num_key_value_heads": 3}, "num_attention_heads 4 and num_key_value_heads 3"),
        ("gpt2", {"pad_token_id": 320}, "pad_token_id 320 and vocab_size 320: .*resize_token_embeddings"),
    ],
)
def test_every_family_is_checked_by_its_own_fields(
    architecture: str, change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    folder = tiny_model(architecture, tmp_path / "model", head="base", layers=2)
    refused(edited(folder, **change), "model_invalid", said)


def test_what_a_config_leaves_to_its_class_is_fine(tmp_path: Path) -> None:
    folder = tiny_model("llama", tmp_path / "model", head="base", layers=2)
    assert facts(edited(folder, num_key_value_heads=None, head_dim=None, pad_token_id=-1)).layers == 2


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([{"a": 1}], "not an object with layers' numbers"),
        ("all", "not an object with layers' numbers"),
        ({"first": {"a": 1}}, "not an object with layers' numbers"),
        ({"-1": {"a": 1}}, "not an object with layers' numbers"),
        ({"3": {"a": 1}}, "of layer 3, and 3 layers, numbered from 0"),
        ({"2": {"a": 1}, "02": {"a": 2}}, "of one layer twice"),
        ({"1": 7}, "layer 1 is not an object"),
    ],
)
def test_what_is_told_layer_by_layer_is_told_of_layers(write: Write, value: Any, said: str) -> None:
    config = bert_config(per_layer_config=value)
    refused(write({**bert_files(), "config.json": json.dumps(config).encode()}), "model_invalid", said)


def test_per_layer_fields_by_other_keys_are_nobodys_layers(write: Write) -> None:
    config = bert_config(per_layer_scales={"full_attention": 1.0}, per_layer_config={"02": {"note": 1}, "0": {}})
    assert facts(write({**bert_files(), "config.json": json.dumps(config).encode()})).layers == 3
