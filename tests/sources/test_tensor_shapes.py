"""Weights that are not those of their config, or that no stock class finds, are refused from their headers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from api_schemas.architectures import ARCHITECTURES
from tests.support.model_folders import facts, refused
from tests.support.tiny_checkpoints import WIDTH, bert_files, bert_tensors
from tests.support.tiny_models import heads_of, tiny_model

Write = Callable[[dict[str, bytes]], Path]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_class_of_every_family_is_as_its_config_says(architecture: str, tmp_path: Path) -> None:
    for head in heads_of(architecture):
        assert facts(tiny_model(architecture, tmp_path / head, head=head, layers=2)).parameters


@pytest.mark.parametrize(
    ("architecture", "change", "said"),
    [
        ("bert", {"vocab_size": 210}, r"word_embeddings.weight .* \[200, 32\], .* says 210 \(vocab_size\)"),
        ("bert", {"hidden_size": 64}, r"word_embeddings.weight .* \[200, 32\], .* says 64"),
        ("bert", {"max_position_embeddings": 128}, r"position_embeddings.weight .* \[64, 32\], .* says 128"),
        ("bert", {"type_vocab_size": 3}, r"token_type_embeddings.weight .* \[2, 32\], .* says 3"),
        ("bert", {"intermediate_size": 63}, r"intermediate.dense.weight .* \[64, 32\], .* says 63"),
        ("electra", {"embedding_size": 32}, r"word_embeddings.weight .* \[200, 16\], .* says 32"),
        ("distilbert", {"hidden_dim": 63}, r"lin1.weight .* \[64, 32\], .* says 63"),
        ("gpt2", {"vocab_size": 50257}, r"wte.weight .* \[320, 32\], .* says 50257"),
        ("gpt2", {"n_positions": 1024}, r"wpe.weight .* \[64, 32\], .* says 1024"),
        ("opt", {"max_position_embeddings": 66}, r"embed_positions.weight .* \[66, 32\], .* says 68"),
        ("modernbert", {"vocab_size": 190}, r"tok_embeddings.weight .* \[200, 32\], .* says 190"),
        ("xlnet", {"vocab_size": 80}, r"word_embedding.weight .* \[90, 32\], .* says 80"),
        ("t5", {"vocab_size": 80}, r"weight .* \[84, 32\], .* says 80"),
        ("bart", {"max_position_embeddings": 32}, r"embed_positions.weight .* \[66, 32\], .* says 34"),
        ("llama", {"num_attention_heads": 8}, r"q_proj.weight .* \[32, 32\], .* says 64"),
        ("qwen3", {"num_key_value_heads": 1}, r"k_proj.weight .* \[16, 32\], .* says 8"),
    ],
)
def test_both_numbers_are_told(architecture: str, change: dict[str, Any], said: str, tmp_path: Path) -> None:
    folder = tiny_model(architecture, tmp_path / "model", head="base", layers=2)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    refused(folder, "model_invalid", said)


def test_positions_that_deberta_tells_to_attention_alone_need_no_table(write: Write) -> None:
    table = {"deberta.embeddings.position_embeddings.weight": np.zeros((512, WIDTH), np.float32)}
    files = bert_files(model_type="deberta-v2", position_biased_input=False)
    weights = save({**bert_tensors(3, "deberta."), **table})
    assert facts(write({**files, "model.safetensors": weights})).max_positions == 64


@pytest.mark.parametrize(
    ("prefix", "said"),
    [
        ("module.", r"DataParallel .* 'module\.' .* Save model\.module with save_pretrained"),
        ("module.bert.", "DataParallel"),
        ("_orig_mod.", r"torch\.compile: .* '_orig_mod\.' .* Save model\._orig_mod"),
        ("model._orig_mod.bert.", r"torch\.compile"),
        ("_fsdp_wrapped_module.", "FullyShardedDataParallel"),
    ],
)
def test_a_wrapper_that_was_saved_too_is_named(write: Write, prefix: str, said: str) -> None:
    refused(write({**bert_files(), "model.safetensors": save(bert_tensors(3, prefix))}), "model_invalid", said)
