"""Data that leads out of its folder, is no file, or blows up: refused when it is posted."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import os
import socket
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.attack_target import CSV, Expected, Target

pytestmark = pytest.mark.attack

Do = Callable[[Path, Target], object]

REFUSED = Expected((422,), ("dataset_invalid", "dataset_not_allowed", "dataset_not_found"))


def holds(content: bytes | str) -> Do:
    return lambda path, _: path.write_bytes(content.encode() if isinstance(content, str) else content)


def link(to: str) -> Do:
    return lambda path, site: path.symlink_to(site.folder / to if to.startswith("outside") else to)


def unix_socket(path: Path, _: Target) -> None:
    here = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(f"/proc/self/fd/{here}/{path.name}")
    os.close(here)


def sparse(size: int) -> Do:
    def do(path: Path, _: Target) -> None:
        with path.open("wb") as file:
            file.truncate(size)

    return do


def hollow(content: bytes, size: int) -> Do:
    def do(path: Path, _: Target) -> None:
        path.write_bytes(content)
        os.truncate(path, size)

    return do


def member(name: str, to: str) -> Do:
    """A folder whose ``name`` is a link."""

    def do(path: Path, site: Target) -> None:
        path.mkdir()
        (path / "train.csv").write_text(CSV)
        (path / name).unlink(missing_ok=True)
        (path / name).symlink_to(site.folder / to if to.startswith("outside") else to)

    return do


def parquet(table: pa.Table, **options: object) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


def zipped(content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("train.csv", content)
    return out.getvalue()


def wide_parquet(columns: int) -> bytes:
    return parquet(pa.table({f"c{n}": [1] for n in range(columns)}))


def dictionary_bomb() -> bytes:
    """A text of 10 MB, once in the file and four hundred times in the table."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 400), pa.array(["a" * 10**7]))
    return parquet(pa.table({"text": texts, "label": [0, 1] * 200}), compression="zstd")


HONEST = parquet(pa.table({"text": ["a", "b"] * 20, "label": [0, 1] * 20}))

FILES: dict[str, tuple[str, Do, Expected]] = {
    "out": ("x.csv", link("outside/secret.csv"), REFUSED),
    "out, relative": ("x.csv", link("../../outside/secret.csv"), REFUSED),
    "to the users": ("x.csv", link("/etc/passwd"), REFUSED),
    "to an environment": ("x.csv", link("/proc/self/environ"), REFUSED),
    "to zeros": ("x.csv", link("/dev/zero"), REFUSED),
    "to the standard input": ("x.csv", link("/dev/stdin"), REFUSED),
    "to itself": ("x.csv", link("x.csv"), REFUSED),
    "nowhere": ("x.csv", link("nothing"), REFUSED),
    "as Parquet": ("x.parquet", link("outside/secret.csv"), REFUSED),
    "as JSON": ("x.jsonl", link("/proc/self/environ"), REFUSED),
    "a FIFO": ("x.csv", lambda path, _: os.mkfifo(path), REFUSED),
    "a FIFO of Parquet": ("x.parquet", lambda path, _: os.mkfifo(path), REFUSED),
    "a FIFO of JSON": ("x.jsonl", lambda path, _: os.mkfifo(path), REFUSED),
    "a socket": ("x.csv", unix_socket, REFUSED),
    "a folder named as a file": ("x.csv", lambda path, _: path.mkdir(), REFUSED),
    "a folder, train out": ("x", member("train.csv", "outside/secret.csv"), REFUSED),
    "a folder, dev out": ("x", member("dev.csv", "outside/secret.csv"), REFUSED),
    "a folder, dev of zeros": ("x", member("dev.csv", "/dev/zero"), REFUSED),
    "a header of 400 000": ("x.csv", holds(",".join(f"c{n}" for n in range(400_000)) + "\n1\n"), REFUSED),
    "a header of 400 000 that has ours": (
        "x.csv", holds("text,label," + ",".join(f"c{n}" for n in range(400_000)) + "\na,b\n" * 9), REFUSED
    ),
    "a row of 400 000": ("x.csv", holds("text,label\n" + "a," * 400_000 + "\n"), REFUSED),
    "a field of 20 MB": ("x.csv", holds(f"text,label\n{'a' * 20_000_000},1\n"), REFUSED),
    "a quote that never ends": ("x.csv", holds('text,label\n"' + "a,b\n" * 1_000_000), REFUSED),
    "quotes alone": ("x.csv", holds("text,label\n" + '"' * 5_000_000), REFUSED),
    "a line of 20 MB of JSON": ("x.jsonl", holds('{"text": "' + "a" * 20_000_000 + '", "label": 1}\n'), REFUSED),
    "JSON 10^5 deep": ("x.jsonl", holds("[" * 100_000 + "]" * 100_000 + "\n"), REFUSED),
    "an object 10^5 deep": ("x.jsonl", holds('{"text": "a", "label": 1, "x": ' + '{"a":' * 100_000), REFUSED),
    "JSON 10^5 deep in one file": ("x.json", holds("[" * 100_000 + "]" * 100_000), REFUSED),
    "10^5 names of JSON": (
        "x.jsonl", holds(json.dumps({f"c{n}": n for n in range(100_000)}) + "\n"), REFUSED
    ),
    "NULs": ("x.csv", holds(bytes(100_000)), REFUSED),
    "NUL in a text": ("x.csv", holds("text,label\na\0b,1\n" * 20), REFUSED),
    "1 TB of nothing": ("x.csv", sparse(10**12), REFUSED),
    "1 TB of no Parquet": ("x.parquet", sparse(10**12), REFUSED),
    "no UTF-8": ("x.csv", holds(b"text,label\n\xff\xfe,1\n" * 20), REFUSED),
    "labels without end": ("x.csv", holds("text,label\n" + "".join(f"a,{n}\n" for n in range(20_000))), REFUSED),
    "a pickle": ("x.csv", holds(b"\x80\x04cos\nsystem\n(S'id'\ntR."), REFUSED),
    "a pickle by its name": ("x.pkl", holds(b"\x80\x04."), REFUSED),
    "a database": ("x.duckdb", holds(b"DUCK"), REFUSED),
    "a database as CSV": ("x.csv", holds(b"SQLite format 3\0" + bytes(5000)), REFUSED),
    "a zip by its name": ("x.zip", holds(zipped(b"a" * 10**7)), REFUSED),
    "a zip as CSV": ("x.csv", holds(zipped(b"a" * 10**7)), REFUSED),
    "gzip by its name": ("x.csv.gz", holds(gzip.compress(CSV.encode() + b"a" * 10**7)), REFUSED),
    "gzip as CSV": ("x.csv", holds(gzip.compress(CSV.encode() * 1000)), REFUSED),
    "a glob as a name": ("*.csv", link("outside/secret.csv"), REFUSED),
    "no Parquet": ("x.parquet", holds(b"PAR1" + bytes(100) + b"PAR1"), REFUSED),
    "a footer that lies": ("x.parquet", holds(HONEST[:-8] + b"\xff\xff\xff\x7f" + b"PAR1"), REFUSED),
    "a footer below zero": ("x.parquet", holds(HONEST[:-8] + b"\xff\xff\xff\xff" + b"PAR1"), REFUSED),
    "half a Parquet": ("x.parquet", holds(HONEST[: len(HONEST) // 2]), REFUSED),
    "a footer that is garbage": ("x.parquet", holds(HONEST[:-500] + bytes(492) + HONEST[-8:]), REFUSED),
    "pages of garbage": ("x.parquet", holds(HONEST[:4] + bytes(60) + HONEST[64:]), REFUSED),
    "20 000 columns": ("x.parquet", holds(wide_parquet(20_000)), REFUSED),
    "a dictionary of 4 GB": ("x.parquet", holds(dictionary_bomb()), REFUSED),
    "1 TB of no lines": ("x.jsonl", sparse(10**12), REFUSED),
    "a row and 1 TB of nothing": ("x.csv", hollow(CSV.encode(), 10**12), REFUSED),
    "a label of 5000 digits": ("x.csv", holds(CSV + f"a,{'9' * 5000}\n"), REFUSED),
    "3 million faults": ("x.csv", holds(CSV + "a\n" * 3_000_000), REFUSED),
    "a million carriage returns": ("x.csv", holds("text,label\n" + "\r" * 1_000_000), REFUSED),
    "a million line ends": ("x.csv", holds("text,label\n" + "\n" * 1_000_000), REFUSED),
    "UTF-16 of no order": ("x.csv", holds(CSV.encode("utf-16-be") + b"a"), REFUSED),
}  # fmt: skip
_numbers = itertools.count()


@pytest.mark.parametrize("name", FILES)
def test_a_table_that_attacks_is_refused_when_it_is_posted(site: Target, name: str) -> None:
    file, do, expected = FILES[name]
    folder = site.tables / f"evil-{next(_numbers)}"
    folder.mkdir()
    do(folder / file, site)
    task = {"dataset": str(folder / file), "text_columns": ["text"], "label_column": "label"}
    body = {"model": str(site.models / "honest"), "task": task}
    site.check(f"table: {name}", site.post(body), expected, body)


def test_text_to_measure_on_is_looked_at_as_hard(site: Target) -> None:
    for number, (name, to) in enumerate({"out": "outside/secret.txt", "an environment": "/proc/self/environ"}.items()):
        path = site.tables / f"measure-{number}.txt"
        link(to)(path, site)
        prune = {"strategy": "importance", "drop": 1, "calibration": {"dataset": str(path)}}
        body = {"model": str(site.models / "honest"), "task": "none", "prune": prune}
        site.check(f"calibration: {name}", site.post(body), Expected((422,)), body)
