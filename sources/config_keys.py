"""KEYS: what the small JSON files of a model may say: no stock loader opens a file or runs code by a name in them.

Each file has a table of keys with a meaning of their own; whatever else stands in it is taken to be one of the
thousand harmless settings that classes have, if it names no file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from api_schemas.errors import LayercutError
from sources.headers import invalid

SHOWN = 60
#: Of one text that is no template, in characters.
LONGEST = 4096
LONGEST_TEMPLATE = 2**20

FILE_KEY = re.compile(r".*_(file|files|path|paths|dir|folder|spm)|spm|.*_model_kwargs|gguf.*|init_inputs")
_SUFFIXES = "json|jsonl|txt|model|bin|pt|pth|ckpt|pkl|pickle|safetensors|jinja|py|so|gguf|spm|tiktoken|vocab|zip|gz|h5"
FILE_NAME = re.compile(rf".*\.({_SUFFIXES})", re.IGNORECASE | re.DOTALL)
CLASS_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")
DTYPE = re.compile(r"(torch\.)?(float(16|32|64)?|half|double|bfloat16|float8_\w{1,20}|auto)")

#: Whether a value is fine.
Fine = Callable[[Any], bool]


@dataclass(frozen=True)
class Rules:
    """``keys``: what each that is known may say; ``strict``: no other text may look like a path, however short."""

    keys: Mapping[str, tuple[Fine, str]] = field(default_factory=dict)
    strict: bool = True


def check_keys(name: str, found: Any, id: str) -> dict[str, Any]:
    """``found``, what the file ``name`` says, once nothing in it names a file or code.

    Raises ``model_not_allowed``, with the key and its value, and ``model_invalid`` for what is no object.
    """
    if not isinstance(found, dict):
        raise invalid(f"{name} is not a JSON object, in {id!r}")
    rules = KEYS[name]
    for key, value in found.items():
        fine, right = rules.keys.get(key) or (_token if key.endswith("_token") else _plain(key, rules.strict), PLAIN)
        if not fine(value):
            text = (
                f"{name} of {id!r} has {short(key)}: {short(value)}, which is not safe to pass on to a loader: {right}"
            )
            raise LayercutError("model_not_allowed", text, param="/model")
    return found


def short(value: Any) -> str:
    """For a message, whatever it is."""
    if isinstance(value, (dict, list)):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)} entries"
    text = repr(value[: SHOWN + 1]) if isinstance(value, str) else repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


PLAIN = "leave the key out, as no file may be named there"


def _plain(key: str, strict: bool) -> Fine:
    """Of a key that is not known: nothing that is, or may be, the name of a file."""
    if FILE_KEY.fullmatch(key):
        return _nothing
    return lambda value: all(_is_plain(text, strict) for text in _texts(value))


def _is_plain(text: str, strict: bool) -> bool:
    if strict:
        return len(text) <= LONGEST and not ("/" in text or "\\" in text or ".." in text or FILE_NAME.fullmatch(text))
    # A hub's name, or a web address, opens nothing there.
    return not (text.startswith(("/", "~", "\\")) or ".." in text.split("/") or "\0" in text)


def _texts(value: Any) -> Iterator[str]:
    """Every text in it, at any depth, which was bounded; names of keys are none."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            for key, inner in one.items():
                if FILE_KEY.fullmatch(key) and isinstance(inner, str):
                    yield f"/{inner}"
                left.append(inner)
        elif isinstance(one, list):
            left.extend(one)


def _nothing(value: Any) -> bool:
    return value is None or value is False or value in ([], {})


def _anything(_: Any) -> bool:
    return True


def _text(value: Any) -> bool:
    return value is None or (isinstance(value, str) and len(value) <= LONGEST)


def _class_name(value: Any) -> bool:
    return value is None or (isinstance(value, str) and CLASS_NAME.fullmatch(value) is not None)


def _dtype(value: Any) -> bool:
    return value is None or (isinstance(value, str) and DTYPE.fullmatch(value) is not None)


def _token(value: Any) -> bool:
    """A text, or the fields of an ``AddedToken``; a bool for ``add_bos_token`` and its kin."""
    if isinstance(value, dict):
        content = value.get("content")
        rest = (inner for key, inner in value.items() if key not in ("content", "__type"))
        return _text(content) and content is not None and all(isinstance(inner, (bool, int)) for inner in rest)
    return isinstance(value, (bool, int, float)) or _text(value)


def _tokens(value: Any) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    return value is None or (isinstance(value, list) and all(_token(token) and token is not None for token in value))


def _numbered_tokens(value: Any) -> bool:
    numbers = isinstance(value, dict) and all(key.isdecimal() and len(key) < 10 for key in value)
    return value is None or (numbers and all(isinstance(token, dict) and _token(token) for token in value.values()))


def _template(value: Any) -> bool:
    """A template, or several by name; what it may do is up to who renders it, in a sandbox of Jinja's."""
    rows = value if isinstance(value, list) else [value]
    texts = [text for row in rows for text in (row.values() if isinstance(row, dict) else [row])]
    return value is None or all(isinstance(text, str) and len(text) <= LONGEST_TEMPLATE for text in texts)


def _sampling(value: Any) -> bool:
    """Of sentencepiece: its other argument is a file."""
    known = {"enable_sampling", "nbest_size", "alpha", "add_bos", "add_eos", "reverse"}
    return _nothing(value) or (
        isinstance(value, dict) and value.keys() <= known and not any(isinstance(one, str) for one in value.values())
    )


def _labels(value: Any) -> bool:
    if not isinstance(value, dict):
        return value is None
    return all(isinstance(one, (str, int)) for one in value.values())


def _classes(value: Any) -> bool:
    rows = isinstance(value, list) and len(value) <= 16
    return value is None or (rows and all(_class_name(name) and name is not None for name in value))


def _never(_: Any) -> bool:
    return False


_NO = (_nothing, PLAIN)
_CODE = (_never, "that is remote code, and layercut never runs a model's own code")
#: These are not opened: stock `transformers` writes over the first and the last, and knows the others as words alone.
_WORDS = dict.fromkeys(
    ("name_or_path", "_name_or_path", "special_tokens_map_file", "tokenizer_file"), (_text, "it must be a text")
)
_CLASS = (_class_name, "it must be the name of a class")
_DTYPE = (_dtype, "it must be a float type, such as float32")

TOKENIZER = Rules({
    **_WORDS,
    "auto_map": _CODE,
    **dict.fromkeys((
        "vocab", "merges", "tokenizer_object", "tokenizer_padding", "tokenizer_truncation",
        "post_processor", "_json_truncation", "_json_padding", "_spm_precompiled_charsmap", "tokenizer",
        "files_loaded", "config", "subfolder", "cache_dir", "revision",
    ), _NO),
    **dict.fromkeys(("tokenizer_class", "processor_class", "backend", "model_type"), _CLASS),
    # The last is written by `transformers` itself: each `*_token` beyond the seven of every class is put into it.
    **dict.fromkeys(
        ("additional_special_tokens", "extra_special_tokens", "model_specific_special_tokens"),
        (_tokens, "it must be a list of tokens, or an object of tokens by name"),
    ),
    "added_tokens_decoder": (_numbered_tokens, "it must be an object of tokens by number"),
    **dict.fromkeys(
        ("chat_template", "response_template", "default_chat_template"),
        (_template, f"it must be a text of at most {LONGEST_TEMPLATE} characters, or several by name"),
    ),
    "response_schema": (_anything, ""),
    "sp_model_kwargs": (_sampling, "it may say enable_sampling, nbest_size and alpha"),
})  # fmt: skip

KEYS: dict[str, Rules] = {
    "config.json": Rules({
        "_name_or_path": _WORDS["_name_or_path"],
        "name_or_path": _WORDS["name_or_path"],
        **dict.fromkeys(("transformers_weights", "configuration_files", "adapter_kwargs"), _NO),
        **dict.fromkeys(("tokenizer_class", "processor_class", "model_type"), _CLASS),
        "architectures": (_classes, "it must be a list of at most 16 names of classes"),
        **dict.fromkeys(("torch_dtype", "dtype"), _DTYPE),
        **dict.fromkeys(("id2label", "label2id"), (_labels, "it must be an object of texts and numbers")),
        "task_specific_params": (_anything, ""),
    }, strict=False),
    "generation_config.json": Rules({
        "_name_or_path": _WORDS["_name_or_path"],
        **dict.fromkeys(("compile_config", "custom_generate"), _NO),
        "chat_format": (_text, "it must be a text"),
    }),
    "tokenizer_config.json": TOKENIZER,
    "special_tokens_map.json": TOKENIZER,
    "processor_config.json": TOKENIZER,
    "preprocessor_config.json": TOKENIZER,
}  # fmt: skip
