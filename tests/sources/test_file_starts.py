"""What stands in for a file is refused by its name, and what to do is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.model_folders import refused
from tests.support.tiny_checkpoints import bert_files

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab\nsize 437951328\n"
PAGE = b"\n<!DOCTYPE HTML>\n<html><head><title>Sign in</title></head></html>\n"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "vocab.txt", "spiece.model"])
@pytest.mark.parametrize(
    ("content", "said"), [(POINTER, "is a git-lfs pointer, .* git lfs pull"), (PAGE, "is a web page, .* raw address")]
)
def test_a_stand_in_is_named(write: Callable[[dict[str, bytes]], Path], name: str, content: bytes, said: str) -> None:
    refused(write({**bert_files(), name: content}), "model_invalid", f"{name} {said}")
