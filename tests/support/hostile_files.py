"""Files of strangers: valid ones, changed at random in one place or several, of models and of tables."""

from __future__ import annotations

import json
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from api_schemas.errors import LayercutError
from api_schemas.read_spec import ReadSpec
from api_schemas.requests import ModelRef
from sources.model_folder import folder_of, read_facts
from sources.tables.data_file import DataFile
from sources.tables.table import Table
from tests.support.tiny_checkpoints import bert_files, bert_tensors

Files = dict[str, bytes]

NUMBERS = [0, -1, 1, 2, 5, 10**9, 2**63, -(2**63), 10**40, 1e308, -0.0, 0.5, float("nan"), float("inf")]
TEXTS = ["", "x", "/etc/passwd", "../x", "\0", "\u202e", "😀", "a" * 5000, "x.bin", "5", "float32", "</s>", "bert"]
INSIDE = [[], {}, [[]], {"": {}}, [None], [1, "a", {}], {"content": "x"}, {"a": [1] * 50}, [["a", 1]], {"0": "x"}]
LARGE = [[0] * 2000, {str(number): number for number in range(2000)}, {"type": "Sequence", "normalizers": [{}]}]
ODD: list[Any] = [None, True, False, *NUMBERS, *TEXTS, *INSIDE, *LARGE]
KEYS = ["x", "vocab", "auto_map", "num_labels", "intermediate_size", "\0", "_token", "transformers_weights"]

TOKENIZER = {
    "version": "1.0",
    "truncation": None,
    "padding": {"strategy": "BatchLongest", "direction": "Right", "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
    "added_tokens": [{"id": 0, "content": "[PAD]", "special": True, "lstrip": False}],
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, {"type": "NFC"}]},
    "pre_tokenizer": {"type": "Split", "pattern": {"Regex": " ?[a-z]+|\\s+"}, "behavior": "Isolated", "invert": False},
    "post_processor": None,
    "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
    "model": {"type": "WordPiece", "unk_token": "[PAD]", "vocab": {"[PAD]": 0, "a": 1}, "max_input_chars_per_word": 9},
}
TOKENIZER_CONFIG = {
    "tokenizer_class": "BertTokenizer",
    "added_tokens_decoder": {"0": {"content": "[PAD]", "special": True}},
    "additional_special_tokens": ["a"],
    "pad_token": "[PAD]",
    "unk_token": {"content": "[PAD]", "__type": "AddedToken"},
    "model_max_length": 512,
    "chat_template": "{{ x }}",
}
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]


def model_files(draw: random.Random) -> Files:
    """Of a whole model: one file of weights or two, one kind of tokenizer or another, with modules or without."""
    files = bert_files(**draw.choice([{}, {"id2label": {"0": "a", "1": "b"}}, {"layer_types": ["full_attention"] * 3}]))
    files["tokenizer_config.json"] = json.dumps(TOKENIZER_CONFIG).encode()
    files["special_tokens_map.json"] = b'{"pad_token": "[PAD]"}'
    files["generation_config.json"] = b'{"eos_token_id": 1}'
    files["README.md"] = b"---\nlicense: mit\ntags:\n- x\n---\n# Model\n"
    if draw.random() < 0.5:
        files["tokenizer.json"] = json.dumps(TOKENIZER).encode()
    if draw.random() < 0.3:
        files["added_tokens.json"] = b'{"a": 1}'
    if draw.random() < 0.3:
        names = {name: "model-00001-of-00001.safetensors" for name in bert_tensors(3)}
        files["model-00001-of-00001.safetensors"] = files.pop("model.safetensors")
        files["model.safetensors.index.json"] = json.dumps({"metadata": {}, "weight_map": names}).encode()
    if draw.random() < 0.3:
        files["modules.json"] = json.dumps(MODULES).encode()
        files["1_Pooling/config.json"] = b'{"word_embedding_dimension": 8, "pooling_mode": "mean"}'
        files["sentence_bert_config.json"] = b'{"max_seq_length": 128, "do_lower_case": false}'
    return files


def changed(files: Files, draw: random.Random) -> Files:
    """``files`` with one to three changes."""
    found = dict(files)
    for _ in range(draw.randint(1, 3)):
        name = draw.choice(sorted(found))
        found[name] = draw.choice(CHANGES)(found[name], draw)
    return found


def _json(content: bytes, draw: random.Random) -> bytes:
    """One value, anywhere in it, is another."""
    try:
        whole = json.loads(content)
    except (ValueError, RecursionError):
        return _bytes(content, draw)
    return _dumped(_replaced(whole, draw))


def _dumped(whole: Any) -> bytes:
    return json.dumps(whole).encode()


def _replaced(value: Any, draw: random.Random) -> Any:
    if isinstance(value, (dict, list)) and value and draw.random() < 0.8:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = draw.choice(keys)
        copy: Any = dict(value) if isinstance(value, dict) else list(value)
        copy[key] = _replaced(value[key], draw)
        if isinstance(copy, dict) and draw.random() < 0.2:
            copy[draw.choice(["x", "vocab", "auto_map", "num_labels", "intermediate_size", "\0", "_token"])] = (
                draw.choice(ODD)
            )
        return copy
    return draw.choice(ODD)


def _header(content: bytes, draw: random.Random) -> bytes:
    """The header of a safetensors file says something else."""
    length = int.from_bytes(content[:8], "little")
    try:
        rows = json.loads(content[8 : 8 + length])
    except (ValueError, RecursionError):
        return _bytes(content, draw)
    header = json.dumps(_replaced(rows, draw)).encode()
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def _bytes(content: bytes, draw: random.Random) -> bytes:
    """Some bytes are others, or are gone, or stand there many times."""
    at = draw.randrange(len(content) + 1)
    ways: list[Callable[[], bytes]] = [
        lambda: content[:at],
        lambda: content[:at] + bytes([draw.randrange(256)]) + content[at + 1 :],
        lambda: content[:at] + draw.randbytes(draw.randint(1, 64)) + content[at:],
        lambda: content[:at] + draw.choice([b"[", b"{", b'"', b"\\", b"\0", b"\xff\xfe", b"\r"]) * 2000 + content[at:],
        lambda: content[at:],
        lambda: b"",
        lambda: content * draw.randint(2, 50),
    ]
    return draw.choice(ways)()


CHANGES = (_json, _json, _json, _header, _bytes)


def write_files(folder: Path, files: Files) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def read_model(folder: Path) -> str:
    """What the gateway says of it, which must be possible to send."""
    try:
        return read_facts(folder_of(folder, "x"), ModelRef(id="x")).model_dump_json()
    except LayercutError as error:
        return _sent(error, ("model_invalid", "model_not_allowed", "unsupported_architecture"))


def _sent(error: LayercutError, codes: tuple[str, ...]) -> str:
    assert error.code in codes
    assert len(error.message) < 5000
    return error.message.encode().decode()


TABLES: dict[str, bytes] = {
    ".csv": b'text,label\n"a, b",x\nc d,y\n' * 1 + b"e,x\nf,y\n" * 20,
    ".tsv": b"text\tlabel\n" + b"e\tx\nf\ty\n" * 20,
    ".jsonl": b'{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n' * 20,
    ".json": json.dumps([{"text": "a", "label": number % 2} for number in range(40)]).encode(),
}


def table_file(draw: random.Random) -> tuple[str, bytes]:
    kind = draw.choice(sorted(TABLES))
    change = draw.choice((_bytes, _bytes, _json))
    return f"table{kind}", change(TABLES[kind], draw)


def read_table(path: Path) -> str:
    try:
        with Table(DataFile(path, path.name, "/task/dataset"), ["text"], "label", ReadSpec(), limit=1000) as table:
            return str(sum(len(batch) for batch in table.batches()))
    except LayercutError as error:
        return _sent(error, ("dataset_invalid",))


def special(path: Path, draw: random.Random) -> None:
    """In the place of a file: what is none."""
    path.unlink(missing_ok=True)
    draw.choice([lambda: os.mkfifo(path), path.mkdir, lambda: path.symlink_to("/etc/passwd")])()
