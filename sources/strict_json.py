"""JSON of strangers: bounded in bytes and in depth, and nothing in it that cannot be written out again as UTF-8."""

from __future__ import annotations

import json
from typing import Any

from sources.headers import invalid

#: No file of a model goes deeper. The libraries that read it after us recurse.
MAX_DEPTH = 32

MIB = 2**20
#: By the file's name, in bytes; the others have ``OTHERS``. The largest that are known are a third of it at most.
LIMITS = {
    "config.json": 4 * MIB,
    "tokenizer.json": 64 * MIB,  # Gemma's 262 144 tokens take 33 MB
    "tokenizer_config.json": 16 * MIB,
    "model.safetensors.index.json": 16 * MIB,
    "vocab.json": 16 * MIB,
    "added_tokens.json": 16 * MIB,
}
OTHERS = MIB


def limit_of(name: str) -> int:
    """How many bytes of the file ``name`` are read at most."""
    return LIMITS.get(name, OTHERS)


def parse(data: bytes, name: str) -> Any:
    """What ``data``, of the file ``name``, says.

    Raises ``model_invalid`` where it is not JSON in UTF-8, is deeper than ``MAX_DEPTH`` or has half a character.
    """
    try:
        # json.loads would guess other encodings of bytes, and take surrogates.
        found = json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise invalid(f"{name} is not JSON: byte {error.start + 1} is not UTF-8") from None
    except RecursionError:
        raise _too_deep(name) from None
    except ValueError as error:
        raise invalid(f"{name} is not JSON: {str(error)[:200]}") from None
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and is_deep(found, MAX_DEPTH):
        raise _too_deep(name)
    if b"\\u" in data and _has_surrogates(found):
        raise invalid(f"{name} has half a character (a lone surrogate) in a text")
    return found


def is_deep(value: Any, limit: int) -> bool:
    """Whether lists and objects stand in each other more than ``limit`` deep; found without recursion."""
    level = [value]
    for _ in range(limit + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True


def _has_surrogates(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _too_deep(name: str) -> Exception:
    return invalid(f"{name} has lists and objects in each other, more than {MAX_DEPTH} deep")
