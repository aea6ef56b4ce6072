"""The small files of a model are checked key by key: no stock loader opens a file or runs code by a name in them."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sources.config_keys import KEYS, check_keys
from tests.support.model_folders import facts, refused
from tests.support.tiny_checkpoints import bert_config, bert_files

Write = Callable[[dict[str, bytes]], Path]


def with_file(name: str, content: Any) -> dict[str, bytes]:
    return {**bert_files(), name: json.dumps(content).encode()}


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize(
    "said",
    [
        {"vocab": "/etc/passwd"},
        {"vocab": "secret"},
        {"vocab": {"a": 0}},
        {"merges": "x"},
        {"vocab_file": "/proc/self/environ"},
        {"spm_file": "x"},
        {"source_spm": "x"},
        {"monolingual_vocab_file": "dict.txt"},
        {"fast_tokenizer_files": ["../../tokenizer.1.0.0.json"]},
        {"gguf_file": "x.gguf"},
        {"init_inputs": ["/etc/passwd"]},
        {"tokenizer_object": {}, "anything": "/etc/passwd"},
        {"anything": ["a", {"b": "../x"}]},
        {"anything": "C:\\x"},
        {"anything": "weights.bin"},
        {"anything": {"some_file": "x"}},
        {"sp_model_kwargs": {"model_file": "/etc/passwd"}},
        {"auto_map": ["a.B", None]},
        {"tokenizer_class": "../x"},
        {"tokenizer_class": 5},
        {"added_tokens_decoder": {"-1": {"content": "x"}}},
        {"added_tokens_decoder": [1]},
        {"extra_special_tokens": "abc"},
        {"pad_token": {"content": 5}},
        {"chat_template": 5},
    ],
    ids=str,
)
def test_what_a_tokenizers_files_may_not_say(write: Write, name: str, said: dict[str, Any]) -> None:
    key = next(iter(said)) if len(said) == 1 else "anything"
    refused(write(with_file(name, said)), "model_not_allowed", f"{name} .*{key}.*not safe to pass on")


@pytest.mark.parametrize(
    "said",
    [
        {"transformers_weights": "adapter_model.bin"},
        {"transformers_weights": "sub/w.safetensors"},
        {"configuration_files": ["config.4.0.0.json"]},
        {"vocab_file": "x"},
        {"anything": "/etc/passwd"},
        {"anything": "../x"},
        {"nested": {"deeper": [{"some_path": "x"}]}},
        {"torch_dtype": "load"},
        {"torch_dtype": 5},
        {"architectures": 5},
        {"architectures": ["x" * 10**6]},
        {"architectures": "BertModel"},
        {"architectures": [None]},
        {"id2label": [1]},
        {"id2label": {"0": {}}},
        {"tokenizer_class": ["a"]},
    ],
    ids=lambda said: str(said)[:60],
)
def test_what_a_config_may_not_say(write: Write, said: dict[str, Any]) -> None:
    refused(write(bert_files(**said)), "model_not_allowed", "config.json .*not safe to pass on")


def test_a_refusal_is_short_whatever_was_said(write: Write) -> None:
    with pytest.raises(Exception, match=r"config\.json") as caught:
        facts(write(bert_files(architectures=["x" * 10**6], x="/" + "y" * 10**6)))
    assert len(str(caught.value)) < 600


def test_what_real_files_say_is_let_through() -> None:
    tokenizer = {
        "name_or_path": "/home/me/model", "special_tokens_map_file": "/root/.cache/x.json",
        "tokenizer_file": "/root/x/tokenizer.json", "vocab_file": None, "do_lower_case": True, "strip_accents": None,
        "tokenizer_class": "BertTokenizerFast", "model_max_length": 10**30, "cls_token": "[CLS]", "eos_token": "</s>",
        "mask_token": {"content": "<mask>", "lstrip": True, "__type": "AddedToken"}, "add_bos_token": False,
        "added_tokens_decoder": {"0": {"content": "[PAD]", "lstrip": False, "special": True}},
        "additional_special_tokens": ["<extra_id_0>", {"content": "</x>"}], "extra_special_tokens": {"a": "<a/>"},
        "chat_template": [{"name": "default", "template": "{% if a/b %}"}], "sp_model_kwargs": {}, "init_inputs": [],
        "src_lang": "en_XX", "errors": "replace", "padding_side": "left", "backend": "tokenizers", "never_split": None,
    }  # fmt: skip
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        assert check_keys(name, tokenizer, "x") is tokenizer
    config = {
        **bert_config(), "_name_or_path": "/home/me/x", "base": "owner/name", "rope_scaling": {"type": "linear"},
        "task_specific_params": {"translation": {"prefix": "to German: /x"}}, "torch_dtype": "bfloat16",
        "id2label": {"0": "a/b"}, "label2id": {"a/b": 0}, "transformers_version": "5.0.0", "hidden_act": "gelu",
    }  # fmt: skip
    assert check_keys("config.json", config, "x") is config
    check_keys("generation_config.json", {"eos_token_id": [1, 2], "transformers_version": "4.3", "top_p": 0.9}, "x")


def test_the_files_of_another_kind_are_looked_at_too(write: Write) -> None:
    refused(write(with_file("processor_config.json", {"x": "/etc/passwd"})), "model_not_allowed", "processor_config")
    assert {"generation_config.json", "preprocessor_config.json"} <= KEYS.keys()


@pytest.mark.parametrize("name", ["zzz.safetensors", "extra.json", "tokenizer.json", "vocab.txt", "config.json"])
@pytest.mark.parametrize("kind", ["fifo", "socket", "folder"])
def test_what_is_no_file_is_refused_at_once(write: Write, name: str, kind: str) -> None:
    folder = write({})
    for other, content in bert_files().items():
        if other != name:
            (folder / other).write_bytes(content)
    if kind == "fifo":
        os.mkfifo(folder / name)
    elif kind == "folder":
        (folder / name).mkdir()
    else:
        here = Path.cwd()
        os.chdir(folder)
        try:  # the path of a socket may have 107 bytes only
            with socket.socket(socket.AF_UNIX) as door:
                door.bind(name)
        finally:
            os.chdir(here)
    refused(folder, "model_invalid", f"{name}.* is (no regular file|a folder)")


@pytest.mark.parametrize("name", ["additional_chat_templates/x.jinja", "1_Pooling/config.json"])
def test_links_one_level_down_are_followed_no_further_than_the_root(write: Write, tmp_path: Path, name: str) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text('{"word_embedding_dimension": 8}')
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    folder = write(with_file("modules.json", modules))
    (folder / name).parent.mkdir(parents=True)
    (folder / "1_Pooling").mkdir(exist_ok=True)
    if not name.startswith("1_Pooling"):
        (folder / "1_Pooling" / "config.json").write_text("{}")
    (folder / name).symlink_to(secret)
    refused(folder, "model_not_allowed", f"{name}.* leads out of the allowed folder")
