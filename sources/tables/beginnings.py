"""The beginning of a large file of data, cut where a row ends: what is looked at of it."""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from sources.tables.bounds import MIB
from sources.tables.columns import listed
from sources.tables.encodings import MARKS, UTF8

#: Of one file, what is looked at; in bytes. As much may lie on the gateway's disk, for as long as that takes.
LOOK_BYTES = 16 * MIB
#: Of one that must be decoded to be cut, which takes memory.
DECODED_BYTES = 8 * MIB
BLOCK = MIB


def write_head(path: Path, kind: str, blocks: Iterable[bytes]) -> int:
    """Write the whole rows that ``blocks``, the beginning of a file of ``kind``, have to ``path``; how many bytes of
    the file that is.
    """
    with path.open("w+b") as head:
        head.writelines(blocks)
        head.seek(0)
        start = head.read(BLOCK)
        marked = next((name for mark, name in MARKS if name != UTF8 and start.startswith(mark)), None)
        is_list = kind == ".json" and start.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"[")
        if marked is None and not is_list:
            head.truncate(_end_of_rows(head, b'"' if kind in (".csv", ".tsv") else b""))
            return os.fstat(head.fileno()).st_size
        head.seek(0)
        given = head.read(DECODED_BYTES)
        rows, count = _rows_of_list(given) if is_list else _rows_of(given, marked or UTF8)
        head.seek(0)
        head.write(rows)
        head.truncate()
        return count


def _end_of_rows(head: BinaryIO, quote: bytes) -> int:
    """Where the last whole row of ``head`` ends: at the last line end that stands in no quotes."""
    size = head.seek(0, os.SEEK_END)
    head.seek(max(0, size - BLOCK))
    tail = head.read()
    end_of_line = b"\n" if b"\n" in tail else b"\r"
    last = end = tail.rfind(end_of_line) + 1
    quotes = _count(head, quote, size - len(tail)) + (tail.count(quote, 0, end) if quote else 0)
    while end and quotes % 2:
        whole = tail.rfind(end_of_line, 0, max(0, tail.rfind(quote, 0, end))) + 1
        quotes -= tail.count(quote, whole, end)
        end = whole
    # Where none is: a quote that opens no cell, such as an inch.
    return size - len(tail) + (end or last) if last else size


def _count(head: BinaryIO, mark: bytes, size: int) -> int:
    """How often ``mark`` stands in the first ``size`` bytes."""
    head.seek(0)
    count = 0
    while mark and size > 0 and (block := head.read(min(BLOCK, size))):
        count, size = count + block.count(mark), size - len(block)
    return count


def _rows_of(given: bytes, encoding: str) -> tuple[bytes, int]:
    """Those that end in a line end, in the encoding that they came in."""
    text = given.decode(encoding, "ignore")
    rows = text[: text.rfind("\n") + 1] or text
    return rows.encode(encoding), len(given) * len(rows) // max(1, len(text))


def _rows_of_list(given: bytes) -> tuple[bytes, int]:
    """An object a line: JSON has no list without an end."""
    text = given.decode(UTF8, "ignore").lstrip("\ufeff \t\r\n")
    found = list(listed(text))
    rows = "\n".join(json.dumps(row, ensure_ascii=False) for row, _ in found)
    return rows.encode(UTF8, "replace"), len(text[: found[-1][1] if found else 0].encode(UTF8, "replace"))
