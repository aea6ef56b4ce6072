"""Models that attack: each is an honest folder with one thing done to it."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.attack_target import Target
from tests.support.tiny_checkpoints import bert_config

Do = Callable[[Path, Target], object]


def said(name: str, **keys: Any) -> Do:
    """A JSON file of the model says this too."""

    def do(folder: Path, _: Target) -> None:
        path = folder / name
        found = json.loads(path.read_bytes()) if path.exists() else {}
        path.write_text(json.dumps({**found, **keys}))

    return do


def outside(name: str, key: str, target: str) -> Do:
    """A JSON file names a file beside the roots."""
    return lambda folder, site: said(name, **{key: str(site.door / target)})(folder, site)


def holds(name: str, content: bytes | str) -> Do:
    def do(folder: Path, _: Target) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return do


def link(name: str, to: str) -> Do:
    """``to`` may begin with "outside/"; what is relative is so to the link."""

    def do(folder: Path, site: Target) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(site.folder / to if to.startswith("outside") else to)

    return do


def both(*acts: Do) -> Do:
    def do(folder: Path, site: Target) -> None:
        for act in acts:
            act(folder, site)

    return do


def fifo(name: str) -> Do:
    def do(folder: Path, _: Target) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return do


def unix_socket(name: str) -> Do:
    def do(folder: Path, _: Target) -> None:
        (folder / name).unlink(missing_ok=True)
        here = os.open(folder, os.O_RDONLY)
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(f"/proc/self/fd/{here}/{name}")  # a socket's path may have 107 bytes
        os.close(here)

    return do


def directory(name: str) -> Do:
    def do(folder: Path, _: Target) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()

    return do


def header(rows: Any, *, claims: int | None = None, data: int = 0) -> Do:
    """``model.safetensors`` with this header, which claims to have ``claims`` bytes, and ``data`` bytes after it."""
    text = rows if isinstance(rows, bytes) else json.dumps(rows).encode()
    return holds("model.safetensors", struct.pack("<Q", len(text) if claims is None else claims) + text + bytes(data))


def tensor(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def sparse(name: str, size: int) -> Do:
    """It takes no room on the disk."""

    def do(folder: Path, _: Target) -> None:
        with (folder / name).open("r+b" if (folder / name).exists() else "wb") as file:
            file.truncate(size)

    return do


def crowd(count: int) -> Do:
    def do(folder: Path, _: Target) -> None:
        for number in range(count):
            (folder / f"{number}.json").touch()

    return do


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


def tokenizer(**parts: Any) -> str:
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "a": 2}
    model = {"type": "WordPiece", "vocab": vocabulary, "unk_token": "[UNK]"}
    return json.dumps({"version": "1.0", "added_tokens": [], "model": model, **parts})


def deep_rules(depth: int, kind: str, key: str) -> str:
    """Rules within rules, written by hand: json.dumps would not go so deep."""
    opened = f'{{"type": "Sequence", "{key}": [' * depth
    return tokenizer(**{kind: "RULES"}).replace('"RULES"', opened + "]}" * depth)


def splits(*patterns: str) -> str:
    rules = [{"type": "Split", "pattern": {"Regex": one}, "behavior": "Isolated"} for one in patterns]
    return tokenizer(pre_tokenizer={"type": "Sequence", "pretokenizers": rules})


def config_only(**more: Any) -> bytes:
    return json.dumps(bert_config(**more)).encode()
