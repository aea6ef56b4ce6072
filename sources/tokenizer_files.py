"""How many tokens a folder's tokenizer has, from its files alone: each must have its row of the embeddings.

What sentencepiece or a class's own defaults add is not seen here; the worker compares again once it has loaded both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sources.any_folder import AnyFolder
from sources.config_keys import short
from sources.headers import invalid
from sources.strict_json import MIB, limit_of, parse
from sources.tokenizer_rules import LONGEST_TOKEN, MAX_ADDED, MAX_TOKENS, check_counts, check_rules

#: XLM-R's 250 000 tokens take 5 MB.
MAX_VOCABULARY = 20 * MIB

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


def check_tokenizer(folder: AnyFolder, rows: int | None, unused: tuple[str, ...]) -> None:
    """Raise ``model_invalid`` for files that are none, whose rules are too many or too slow, or that have more tokens
    than ``rows``; ``unused`` tokens may.
    """
    files = _Files(folder)
    config = files.read("tokenizer_config.json")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        check_counts(name, files.read(name))
    known = _vocabulary(files)
    # Stock tokenizers give what they add the next ids, whatever id is written beside it.
    added = list(_added(files, config))
    if not known or rows is None:
        return
    for token in added:
        known.setdefault(token, len(known))
    ids = [number for token, number in known.items() if token not in unused]
    check_tokens(max(ids, default=0), len(known), rows, folder.id)


class _Files:
    """JSON objects of the folder."""

    def __init__(self, folder: AnyFolder) -> None:
        self.folder = folder
        self.names = frozenset(folder.names())

    def read(self, name: str) -> dict[str, Any]:
        """The object of the file ``name``; empty where there is none."""
        if name not in self.names:
            return {}
        found = parse(self.folder.read(name, limit_of(name)), name)
        if not isinstance(found, dict):
            raise invalid(f"{name} is not a JSON object")
        return found


def _vocabulary(files: _Files) -> dict[str, int]:
    """Every token with its id; empty where that cannot be told cheaply."""
    if "tokenizer.json" in files.names:
        whole = files.read("tokenizer.json")
        check_rules(whole, "tokenizer.json")
        model, added = whole.get("model"), whole.get("added_tokens")
        tokens = _numbered(model.get("vocab") if isinstance(model, dict) else None)
        own = [entry for entry in added if isinstance(entry, dict)] if isinstance(added, list) else []
        more = {text: entry.get("id") for entry in own if tokens and (text := _content(entry)) is not None}
        return tokens | _numbered(more)
    if "vocab.txt" in files.names:
        lines = files.folder.read("vocab.txt", MAX_VOCABULARY).split(b"\n")
        texts = (line.strip(b"\r").decode("utf-8", "surrogateescape") for line in lines)
        return _checked("vocab.txt", {text: number for number, text in enumerate(texts) if text})
    return _checked("vocab.json", _numbered(files.read("vocab.json")))


def _checked(name: str, tokens: dict[str, int]) -> dict[str, int]:
    if len(tokens) > MAX_TOKENS:
        raise invalid(f"{name} has {len(tokens)} tokens; at most {MAX_TOKENS} are read")
    if any(len(token) > LONGEST_TOKEN for token in tokens):
        raise invalid(f"{name} has a token of more than {LONGEST_TOKEN} characters")
    return tokens


def _numbered(vocabulary: Any) -> dict[str, int]:
    if isinstance(vocabulary, list):  # of a unigram model: pairs of a token and its weight, in the order of their ids
        pairs = enumerate(vocabulary)
        return {row[0]: number for number, row in pairs if isinstance(row, list) and row and isinstance(row[0], str)}
    if not isinstance(vocabulary, dict):
        return {}
    return {token: number for token, number in vocabulary.items() if _is_id(number)}


def _added(files: _Files, config: dict[str, Any]) -> Iterator[str]:
    """Tokens that are named beside the vocabulary, in it or not."""
    decoder = config.get("added_tokens_decoder")
    maps = [config]
    # Both are read by one loader or another.
    older = files.read("added_tokens.json")
    wrong = next((token for token, number in older.items() if not _is_id(number)), None)
    if wrong is not None or len(older) > MAX_ADDED:
        what = f"{short(wrong)} without an id" if wrong is not None else f"more than {MAX_ADDED} tokens"
        raise invalid(f"added_tokens.json has {what}")
    if isinstance(decoder, dict):
        yield from filter(None, map(_content, decoder.values()))
    else:  # as older versions saved it, and read only then
        yield from older
        maps.append(files.read("special_tokens_map.json"))
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
