"""JSON of strangers: bounded in bytes and in depth, and nothing in it that cannot be written out again as UTF-8."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from sources.headers import invalid

#: No file of a model goes deeper. The libraries that read it after us recurse.
MAX_DEPTH = 32

MIB = 2**20


@dataclass(frozen=True)
class Limit:
    """Of a file: ``bytes``, and ``values`` in it, each of which takes a hundred bytes of memory or more."""

    bytes: int
    values: int


#: By the file's name; the others have ``OTHERS``. The largest that are known are half of it at most.
LIMITS = {
    "config.json": Limit(MIB, 20_000),
    "tokenizer.json": Limit(64 * MIB, 3_000_000),  # Gemma's 262 144 tokens and 580 000 merges take 33 MB
    "tokenizer_config.json": Limit(16 * MIB, 600_000),
    "model.safetensors.index.json": Limit(4 * MIB, 50_000),
    "vocab.json": Limit(16 * MIB, 1_000_000),
    "added_tokens.json": Limit(4 * MIB, 100_000),
    "report.json": Limit(16 * MIB, 400_000),  # of ours: a search in a model of a thousand layers lists them often
}
OTHERS = Limit(MIB, 50_000)

#: Files that decide which others are read: a key that is there twice could mean one to us, and another to a library.
UNIQUE = {"model.safetensors.index.json"}


def limit_of(name: str) -> int:
    """How many bytes of the file ``name`` are read at most."""
    return LIMITS.get(name, OTHERS).bytes


def parse(data: bytes, name: str, limit: Limit | None = None) -> Any:
    """What ``data``, of the file ``name``, says; ``limit`` is by its name, unless it is given.

    Raises ``model_invalid`` where it is not JSON in UTF-8, is deeper than ``MAX_DEPTH`` or has half a character, and
    for a key that is there twice in a file of ``UNIQUE``.
    """
    most, values = (limit or LIMITS.get(name, OTHERS)).values, sum(map(data.count, (b",", b"[", b"{")))
    if values > most:
        raise invalid(f"{name} has {values} values or more; at most {most} are read")
    try:
        # json.loads would guess other encodings of bytes, and take surrogates.
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_once if name in UNIQUE else None)
    except UnicodeDecodeError as error:
        raise invalid(f"{name} is not JSON: byte {error.start + 1} is not UTF-8") from None
    except RecursionError:
        raise _too_deep(name) from None
    except ValueError as error:
        raise invalid(f"{name} is not JSON: {str(error)[:200]}") from None
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and is_deep(found, MAX_DEPTH):
        raise _too_deep(name)
    if _HALF.search(data) and _has_surrogates(found):
        raise invalid(f"{name} has half a character (a lone surrogate) in a text")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:100]!r} is there twice")
        found[key] = value
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


_HALF = re.compile(rb"\\u[dD][89a-fA-F]")


def _has_surrogates(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _too_deep(name: str) -> Exception:
    return invalid(f"{name} has lists and objects in each other, more than {MAX_DEPTH} deep")
