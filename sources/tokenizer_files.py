"""How many tokens a folder's tokenizer has, from its files alone: each must have its row of the embeddings.

What sentencepiece or a class's own defaults add is not seen here; the worker compares again once it has loaded both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from api_schemas.errors import LayercutError
from sources.headers import invalid

# XLM-R's 250 000 tokens take 17 MB. What is larger is left to the worker, which reads it anyhow.
MAX_TOKENIZER = 20 * 2**20

#: Of tokenizer_config.json: tokens that a tokenizer adds to itself where its vocabulary lacks them.
NAMED = tuple(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))
LISTED = ("additional_special_tokens", "extra_special_tokens")


def check_tokens(largest: int, count: int, rows: int, id: str) -> None:
    """Raise ``model_invalid`` for a tokenizer whose ``largest`` id, of ``count`` tokens, has no row of embeddings."""
    if largest >= rows:
        raise invalid(
            f"the tokenizer of {id!r} has {count} tokens, the last with id {largest}, and the embeddings have {rows}"
            " rows: call model.resize_token_embeddings(len(tokenizer)), train what that adds, and save the model"
            " again, or take out of the tokenizer what was added"
        )


def check_tokenizer(folder: Path, rows: int | None, unused: tuple[str, ...], id: str) -> None:
    """Raise ``model_not_allowed`` for remote code, ``model_invalid`` for files that are none or have more tokens than
    ``rows``; ``unused`` tokens may.
    """
    config = _read(folder / "tokenizer_config.json")
    if "auto_map" in config:
        raise LayercutError(
            "model_not_allowed", f"the tokenizer of {id!r} asks for remote code (auto_map)", param="/model"
        )
    known = _vocabulary(folder)
    if not known or rows is None:
        return
    # Stock tokenizers give what they add the next ids, whatever id is written beside it.
    for token in _added(folder, config):
        known.setdefault(token, len(known))
    ids = [number for token, number in known.items() if token not in unused]
    check_tokens(max(ids, default=0), len(known), rows, id)


def _vocabulary(folder: Path) -> dict[str, int]:
    """Every token with its id; empty where that cannot be told cheaply."""
    if (folder / "tokenizer.json").is_file():
        whole = _read(folder / "tokenizer.json")
        model, added = whole.get("model"), whole.get("added_tokens")
        tokens = _numbered(model.get("vocab") if isinstance(model, dict) else None)
        own = [entry for entry in added if isinstance(entry, dict)] if isinstance(added, list) else []
        more = {text: entry.get("id") for entry in own if tokens and (text := _content(entry)) is not None}
        return tokens | _numbered(more)
    if (folder / "vocab.txt").is_file():
        with (folder / "vocab.txt").open("rb") as file:
            lines = file.read(MAX_TOKENIZER).split(b"\n")
        texts = (line.strip(b"\r").decode("utf-8", "surrogateescape") for line in lines)
        return {text: number for number, text in enumerate(texts) if text}
    return _numbered(_read(folder / "vocab.json"))


def _numbered(vocabulary: Any) -> dict[str, int]:
    if isinstance(vocabulary, list):  # of a unigram model: pairs of a token and its weight, in the order of their ids
        pairs = enumerate(vocabulary)
        return {row[0]: number for number, row in pairs if isinstance(row, list) and row and isinstance(row[0], str)}
    if not isinstance(vocabulary, dict):
        return {}
    return {token: number for token, number in vocabulary.items() if _is_id(number)}


def _added(folder: Path, config: dict[str, Any]) -> Iterator[str]:
    """Tokens that are named beside the vocabulary, in it or not."""
    decoder = config.get("added_tokens_decoder")
    maps = [config]
    if isinstance(decoder, dict):
        yield from filter(None, map(_content, decoder.values()))
    else:  # as older versions saved it, and read only then
        yield from _read(folder / "added_tokens.json")
        maps.append(_read(folder / "special_tokens_map.json"))
    for found in maps:
        listed = [token for name in LISTED for token in _each(found.get(name))]
        yield from filter(None, map(_content, [*(found.get(name) for name in NAMED), *listed]))


def _each(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _content(token: Any) -> str | None:
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _read(path: Path) -> dict[str, Any]:
    """An object of a JSON file; empty where there is no such file, or one too large to look into."""
    if not path.is_file() or path.stat().st_size > MAX_TOKENIZER:
        return {}
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise invalid(f"{path.name} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise invalid(f"{path.name} is not a JSON object")
    return found
