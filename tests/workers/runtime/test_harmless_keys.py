"""Keys that may name a file, because stock `transformers` does not open it: should a release do, this shows it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from sources.config_keys import KEYS, check_keys
from tests.support.tiny_models import tiny_model, tiny_tokenizer
from workers.runtime.loading import load_tokenizer

HARMLESS = ("name_or_path", "_name_or_path", "special_tokens_map_file", "tokenizer_file")

_opened: list[str] = []


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str | bytes | Path):
        _opened.append(str(arguments[0]))


@pytest.fixture(scope="module", autouse=True)
def heard() -> None:
    """A hook of the interpreter: it stays for good."""
    sys.addaudithook(_hear)


@pytest.mark.parametrize("whole", [True, False], ids=["tokenizer.json", "vocab.txt"])
def test_a_harmless_key_opens_nothing(tmp_path: Path, whole: bool) -> None:
    folder, secret = tiny_model("bert", tmp_path / "model", layers=1), tmp_path / "secret"
    tokenizer = tiny_tokenizer("bert")
    tokenizer.save_pretrained(folder)
    if not whole:
        words = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
        (folder / "vocab.txt").write_text("\n".join(words))
        (folder / "tokenizer.json").unlink()
    secret.write_text("secret\nwords\n")
    path = folder / "tokenizer_config.json"
    said = {**json.loads(path.read_text()), **dict.fromkeys(HARMLESS, str(secret))}
    check_keys("tokenizer_config.json", said, "x")
    path.write_text(json.dumps(said))
    _opened.clear()
    vocabulary = load_tokenizer(folder).get_vocab()
    assert any(str(folder) in name for name in _opened)
    assert str(secret) not in _opened
    assert "secret" not in vocabulary


def test_only_these_may_name_a_file() -> None:
    for name, rules in KEYS.items():
        allowed = {key for key, (fine, _) in rules.keys.items() if fine("/etc/passwd") and "template" not in key}
        assert allowed <= {*HARMLESS, "task_specific_params", "response_schema", "chat_format"}, name
