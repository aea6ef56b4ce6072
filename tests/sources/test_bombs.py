"""Small files that would cost minutes or gigabytes are refused within a second, with what is too large."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pytest

from api_schemas.errors import LayercutError
from api_schemas.labels import label_text
from api_schemas.read_spec import ReadSpec
from sources import headers
from sources.fingerprint import FileHashes
from sources.model_folder import folder_of
from sources.tables.bounds import MAX_COLUMNS
from sources.tables.data_file import DataFile
from sources.tables.table import Table
from tests.support.model_folders import facts, refused
from tests.support.tiny_checkpoints import bert_config, bert_files

Write = Callable[[dict[str, bytes]], Path]


def config(**more: Any) -> dict[str, bytes]:
    return {"config.json": json.dumps(bert_config(**more)).encode()}


def tokenizer(**more: Any) -> dict[str, bytes]:
    model = {"type": "BPE", "vocab": {"a": 0}, "merges": []}
    return {"tokenizer.json": json.dumps({"model": model, "added_tokens": [], **more}).encode()}


def header(rows: bytes, data: bytes = b"") -> dict[str, bytes]:
    return {"model.safetensors": struct.pack("<Q", len(rows)) + rows + data}


def tensors(count: int) -> dict[str, bytes]:
    rows = {f"t{at}": {"dtype": "F32", "shape": [1], "data_offsets": [4 * at, 4 * at + 4]} for at in range(count)}
    return header(json.dumps(rows).encode(), bytes(4 * count))


def nested(depth: int) -> dict[str, Any]:
    rule: dict[str, Any] = {"type": "Lowercase"}
    for _ in range(depth):
        rule = {"type": "Sequence", "normalizers": [rule]}
    return rule


def split(*patterns: str) -> dict[str, bytes]:
    rules = [{"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"} for pattern in patterns]
    return tokenizer(pre_tokenizer={"type": "Sequence", "pretokenizers": rules})


def row(shape: bytes) -> bytes:
    return b'{"x":{"dtype":"F32","shape":' + shape + b',"data_offsets":[0,4]}}'


def index(names: int, files: int) -> dict[str, bytes]:
    rows = {f"n{at}": f"{at % files}.safetensors" for at in range(names)}
    return {"model.safetensors": b"", "model.safetensors.index.json": json.dumps({"weight_map": rows}).encode()}


TOKENS = [{"id": number, "content": f"t{number}"} for number in range(100_000)]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (config(num_labels=10**9), "num_labels' 1000000000; it can be 4096 at most"),
        (config(num_labels=-1), "num_labels"),
        (config(num_labels="5"), "num_labels"),
        (config(id2label={str(number): "x" for number in range(9000)}), "id2label.*9000 entries"),
        (config(intermediate_size=10**9), "intermediate_size' 1000000000; it can be 4096 at most.* shapes"),
        (config(head_dim=10**9), "head_dim"),
        (config(max_position_embeddings=10**9), "max_position_embeddings"),
        (config(pooler_hidden_size=10**9), "pooler_hidden_size"),
        (config(nested={"text_config": [{"some_size": 10**9}]}), "some_size"),
        (config(inner_group_num=4000), "inner_group_num"),
        (config(x=[1] * 100_000), "config.json has 10.... values or more; at most 20000"),
        ({"config.json": b'{"a":' * 10_000}, "config.json has .* more than"),
        ({"config.json": b"[1" * 50 + b"]" * 50}, "more than 32 deep|is not JSON"),
        ({"config.json": b'{"model_type": "\\ud800"}'}, "half a character"),
        ({"config.json": b'\xff\xfe{"a": 1}'}, "byte 1 is not UTF-8"),
        ({"config.json": b'{"a": ' + b"9" * 5000 + b"}"}, "config.json is not JSON"),
        (tensors(headers.MAX_TENSORS + 1), "more than 20000 tensors"),
        (header(b'{"a":[' + b"1," * 3_000_000 + b"1]}"), "3000002 values or more"),
        (header(b"[" * 7_000_000), "7000000 values or more"),
        (header(row(b"[" + b"0," * 3_900_000 + b"0]")), "values or more"),
        (header(row(b"[" + b"1," * 20 + b"1]")), "not that of a safetensors file|does not describe the file"),
        (header(b"{}" + b" " * 9_000_000), "its header claims"),
        (index(60_000, 1), "60000 values or more|lists 60000 tensors|values"),
        (index(2000, 2000), "2000 tensors in 2000 files; at most 20000 and 1000"),
        (tokenizer(normalizer=nested(8)), "rules in rules more than 4 deep in its normalizer"),
        (tokenizer(normalizer=nested(10_000 // 100)), "more than 32 deep"),
        (tokenizer(decoder={"type": "Sequence", "decoders": [{"type": "Fuse"}] * 1000}), "more than 256 rules"),
        (tokenizer(added_tokens=TOKENS), "100000 added_tokens; at most 65536"),
        (tokenizer(normalizer=[1]), "a normalizer that is not an object"),
        (tokenizer(model={"vocab": {"t" * 10_000: 0}}), "a token of more than 4096 characters"),
        (tokenizer(normalizer={"type": "Replace", "content": "x" * 1000}), "a content of 1000 characters"),
        (tokenizer(padding={"strategy": {"Fixed": 10**9}}), "a length for padding"),
        (split("(a+)+$"), r"a pattern '\(a\+\)\+\$' in its pre_tokenizer that repeats a group"),
        (split("(?:a|a)*b"), "repeats a group"),
        (split("((a{2,})b)*"), "repeats a group"),
        (split("a{1,100000}"), "repeats more than 1000 times"),
        (split("a" * 5000), "has 5000 characters; at most 4096"),
        (split(*(f"{at:03}{'a' * 4000}" for at in range(200))), "patterns of more than 65536 characters together"),
        (split(*(f"{at:03}{{{'1' * 4000}" for at in range(15)), "(a+)+$"), "repeats a group"),
        (split(*(f"{at:03}{'[' * 4000}" for at in range(15)), "(a+)+$"), "repeats a group"),
        (split(*(f"{at:03}{'[][]' * 1000}" for at in range(15)), "(a+)+$"), "repeats a group"),
        (split(*[r"\p{" * 1300] * 15, "(a+)+$"), "repeats a group"),
        (split("[[a](]*(a+)+$"), "repeats a group"),
        (split("[]a](a+)+$"), "repeats a group"),
        (split("[a(a+)+$"), "repeats a group"),
        (split("(?#[)(a+)+(?#])$"), "has a comment"),
        (split("(?ix)#[\n(a+)+#]\n$"), "has a comment"),
        ({"tokenizer_config.json": json.dumps({"extra_special_tokens": ["x"] * 9000}).encode()}, "9000 extra_special"),
        (
            {"tokenizer_config.json": json.dumps({"model_specific_special_tokens": ["x"] * 9000}).encode()},
            "9000 model_specific",
        ),
        ({"added_tokens.json": b'{"a": "b"}'}, "'a' without an id"),
    ],
    ids=lambda one: one[:40] if isinstance(one, str) else "files",
)
def test_a_bomb_is_refused_within_a_second(write: Write, files: dict[str, bytes], said: str) -> None:
    given = {**bert_files(), **files}
    folder = write({name: content for name, content in given.items() if content})
    started = time.process_time()
    refused(folder, "model_invalid", said)
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "pattern",
    [
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{M}]*[\p{Ll}\p{M}]+(?i:'s|'t)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s+(?!\S)",
        r"<\|startoftext\|>|<\|endoftext\|>|'s|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
        r"[[:alpha:]]+|[](|)*]+|[^](|)*]+|[a-z&&[^(b|c)*]]+|\[(a|b)",
    ],
)
def test_the_patterns_of_real_tokenizers_are_fine(write: Write, pattern: str) -> None:
    assert facts(write({**bert_files(), **split(pattern)})).layers == 3


@pytest.mark.parametrize(
    ("card", "license"),
    [
        (b"---\nlicense: apache-2.0\n---\n", "apache-2.0"),
        (b'---\r\ntags:\r\n- x\r\nlicense: "mit"  # yes\r\n---\r\n', "mit"),
        (b"---\nlicense:\n- mit\n- x\n---\n", None),
        (b"license: mit\n", None),
        (b"---\nx: 1\n---\nlicense: mit\n", None),
        (b"---\nlicense: " + b"[" * 100_000, None),
        (b"---\n" + b"a: &a [*b, *b]\n" * 1_000_000 + b"license: mit\n---\n", None),
        (b"---\n" + b"license: " * 100_000, None),
    ],
    ids=["plain", "quoted", "list", "no front matter", "in the text", "deep", "16 MB", "long line"],
)
def test_of_the_card_only_a_plain_license_is_read(write: Write, card: bytes, license: str | None) -> None:
    folder = write({**bert_files(), "README.md": card})
    started = time.process_time()
    assert facts(folder).license == license
    assert time.process_time() - started < 0.5


def table_refusal(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return refusal(path)


def refusal(path: Path) -> str:
    started = time.process_time()
    with (
        pytest.raises(LayercutError) as caught,
        Table(DataFile(path, path.name, "/task/dataset"), ["text"], "label", ReadSpec()),
    ):
        pass
    assert caught.value.code == "dataset_invalid"
    assert time.process_time() - started < 1
    return caught.value.message


COLUMNS = ["text", "label", *(f"c{number}" for number in range(400_000))]


def test_a_table_with_hundreds_of_thousands_of_columns_is_refused_from_its_header(tmp_path: Path) -> None:
    said = table_refusal(tmp_path / "x.csv", ",".join(COLUMNS).encode())
    assert "columns; at most 1024 are read" in said
    said = table_refusal(tmp_path / "x.tsv", "\t".join(COLUMNS).encode())
    assert "columns; at most 1024 are read" in said
    said = table_refusal(tmp_path / "x.jsonl", json.dumps(dict.fromkeys(COLUMNS[1:], "a")).encode())
    assert "no column 'text'; the file has 400001 columns" in said


def test_a_parquet_file_with_too_many_columns_is_refused(tmp_path: Path) -> None:
    columns = ", ".join(f"'a' AS {name}" for name in COLUMNS[: MAX_COLUMNS + 1])
    path = tmp_path / "x.parquet"
    duckdb.connect().execute(f"COPY (SELECT {columns}) TO '{path}' (FORMAT parquet)")
    assert "1025 columns; at most 1024 are read" in refusal(path)
    path.write_bytes(b"PAR1" + bytes(2**24) + (2**24).to_bytes(4, "little") + b"PAR1")
    assert "the footer has 16777216 bytes" in refusal(path)


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("x.csv", b"text,label\n" + b"ok fine and good,x\n" * 10 + b"a\0b,x\n", "12"),
        ("x.tsv", b"text\tlabel\n" + b"ok fine and good\tx\n" * 10 + b"a\0b\tx\n", "12"),
        ("x.jsonl", b'{"text": "a\\u0000b", "label": "x"}\n', "1"),
    ],
)
def test_a_text_with_byte_0_is_none(tmp_path: Path, name: str, content: bytes, place: str) -> None:
    (tmp_path / name).write_bytes(content)
    with Table(DataFile(tmp_path / name, name, "/task/dataset"), ["text"], "label", ReadSpec()) as table:
        assert table.profile.blank == 1
        assert table.no_text().message == f"{name}:{place}: 'text' has a byte 0 in it, which is no text"
    assert label_text("a\0b") is None


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"text,label\na,x\nb,y\n")
    with (
        pytest.raises(LayercutError, match=r"x\.csv: the file changed while it was read"),
        Table(DataFile(path, "x.csv", "/task/dataset"), ["text"], "label", ReadSpec()),
    ):
        path.write_bytes(b"text,label\na,x\nb,y\nc,z\n")


def test_what_is_put_in_a_tables_place_is_not_read(tmp_path: Path) -> None:
    path, secret = tmp_path / "x.csv", tmp_path / "secret.csv"
    path.write_bytes(b"text,label\na,x\nb,y\n")
    secret.write_bytes(b"text,label\nsecret,x\nsecret,y\n")
    read = list[str]()
    with (  # noqa: PT012 - the refusal comes at the end
        pytest.raises(LayercutError, match="the file changed while it was read"),
        Table(DataFile(path, "x.csv", "/task/dataset"), ["text"], "label", ReadSpec()) as table,
    ):
        path.rename(tmp_path / "old")
        path.symlink_to(secret)
        with suppress(LayercutError):  # DuckDB goes by the name that the file has now, and refuses it
            read += [row[0] for batch in table.batches() for row in batch]
    assert "secret" not in read


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.parquet"])
def test_a_fifo_is_no_table(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    assert "cannot be read: is no regular file" in refusal(tmp_path / name)


def test_the_name_of_a_blob_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    content = b"the attacker's"
    (tmp_path / "blobs" / ("a" * 64)).write_bytes(content)
    link = tmp_path / "model.safetensors"
    link.symlink_to(tmp_path / "blobs" / ("a" * 64))
    hashes = FileHashes(tmp_path / "notes")
    found = hashes.of_files(folder_of(tmp_path, "x"), ["model.safetensors"])
    assert found == {"model.safetensors": hashlib.sha256(content).hexdigest()}


def test_a_fifo_is_not_hashed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model-00001-of-00002.safetensors")
    with pytest.raises(LayercutError, match=r"model-00001-of-00002\.safetensors.* is no regular file"):
        FileHashes(tmp_path / "notes").of_files(folder_of(tmp_path, "x"), ["model-00001-of-00002.safetensors"])
