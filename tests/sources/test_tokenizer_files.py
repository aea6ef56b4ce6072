"""A tokenizer with more tokens than the model has embeddings is refused from its files, with both numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sources import strict_json
from tests.support.model_folders import facts, refused
from tests.support.tiny_checkpoints import bert_files
from tests.support.tiny_models import tiny_model, tiny_tokenizer

Write = Callable[[dict[str, bytes]], Path]

#: As many as bert_files has rows of embeddings.
WORDS = [f"word{number}" for number in range(11)]
VOCABULARY = {word: number for number, word in enumerate(WORDS)}
EXTRA = {"content": "[NEW]", "special": True}


def backend(vocabulary: Any, *added: dict[str, Any]) -> dict[str, bytes]:
    return {"tokenizer.json": json.dumps({"model": {"vocab": vocabulary}, "added_tokens": list(added)}).encode()}


def as_json(**content: Any) -> dict[str, bytes]:
    return {f"{name}.json": json.dumps(value).encode() for name, value in content.items()}


def without_vocabulary() -> dict[str, bytes]:
    return {name: content for name, content in bert_files().items() if name != "vocab.txt"}


LINES = {"vocab.txt": "\n".join(WORDS).encode() + b"\n"}


@pytest.mark.parametrize(
    "files",
    [
        backend(VOCABULARY),
        backend([[word, -1.0] for word in WORDS]),
        backend(VOCABULARY, {"id": 10, "content": "word10"}),
        LINES,
        as_json(vocab=VOCABULARY),
        {**LINES, **as_json(tokenizer_config={"pad_token": "word0", "mask_token": None})},
        {**LINES, **as_json(added_tokens={"word3": 3})},
        # What is saved with the ids of all that was added is not told again by the older files beside it.
        {**LINES, **as_json(tokenizer_config={"added_tokens_decoder": {}}, added_tokens={"[OLD]": 11})},
        {},
    ],
)
def test_as_many_tokens_as_embeddings_are_fine(write: Write, files: dict[str, bytes]) -> None:
    assert facts(write({**without_vocabulary(), **files})).layers == 3


@pytest.mark.parametrize(
    "files",
    [
        backend({**VOCABULARY, "[NEW]": 11}),
        backend([[word, -1.0] for word in [*WORDS, "[NEW]"]]),
        backend(VOCABULARY, {"id": 11, **EXTRA}),
        {"vocab.txt": LINES["vocab.txt"] + b"[NEW]\n"},
        as_json(vocab={**VOCABULARY, "[NEW]": 11}),
        {**LINES, **as_json(added_tokens={"[NEW]": 11})},
        {**LINES, **as_json(special_tokens_map={"pad_token": EXTRA})},
        {**LINES, **as_json(tokenizer_config={"added_tokens_decoder": {"11": EXTRA}})},
        {**backend(VOCABULARY), **as_json(tokenizer_config={"pad_token": "[NEW]"})},
        {**backend(VOCABULARY), **as_json(tokenizer_config={"extra_special_tokens": ["[NEW]"]})},
        {**backend(VOCABULARY), **as_json(tokenizer_config={"additional_special_tokens": [EXTRA]})},
    ],
)
def test_one_token_too_many_is_refused_wherever_it_is_told(write: Write, files: dict[str, bytes]) -> None:
    said = "has 12 tokens, the last with id 11, and the embeddings have 11 rows: .*resize_token_embeddings"
    refused(write({**without_vocabulary(), **files}), "model_invalid", said)


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "roberta", "llama"])
def test_tokens_that_were_added_and_saved_by_transformers(architecture: str, tmp_path: Path) -> None:
    folder = tiny_model(architecture, tmp_path / "model", layers=2)
    tokenizer = type(tiny_tokenizer(architecture)).from_pretrained(folder)
    rows = len(tokenizer)
    tokenizer.add_special_tokens({"pad_token": "<newpad>"})
    tokenizer.add_tokens(["drugname", "sidegroup"])
    tokenizer.save_pretrained(folder)
    refused(folder, "model_invalid", f"has {rows + 3} tokens, .* {rows} rows")


def test_a_token_that_the_family_has_for_images_is_no_fault(tmp_path: Path) -> None:
    folder = tiny_model("gemma3_text", tmp_path / "model", head="base", layers=2)
    tokenizer = type(tiny_tokenizer("gemma3_text")).from_pretrained(folder)
    tokenizer.add_tokens(["<image_soft_token>"])
    tokenizer.save_pretrained(folder)
    assert facts(folder).layers == 2


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "added_tokens.json"])
@pytest.mark.parametrize(("content", "said"), [(b"{oops", "is not JSON"), (b"[1]", "is not a JSON object")])
def test_files_that_are_no_objects_are_refused(write: Write, name: str, content: bytes, said: str) -> None:
    refused(write({**bert_files(), name: content}), "model_invalid", f"{name} {said}")


def test_a_vocabulary_that_makes_no_sense_is_left_to_the_library(write: Write) -> None:
    odd = {"model": {"vocab": [3, [], [None], ["a"]]}, "added_tokens": [5, {"content": 3}, {"id": "x", "content": "y"}]}
    assert facts(write({**bert_files(), **as_json(tokenizer=odd, tokenizer_config={"pad_token": 5})})).layers == 3


def test_a_tokenizer_too_large_to_look_into_is_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(strict_json.LIMITS, "tokenizer.json", strict_json.Limit(64, 100))
    refused(write({**bert_files(), **backend(VOCABULARY)}), "model_invalid", "tokenizer.json .* at most 64 are read")
