"""How much text a task's files hold: told from the head of each, for an estimate. The files were checked before."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from api_schemas.data_size import DataSize, SplitSize
from api_schemas.errors import LayercutError
from api_schemas.read_spec import ReadSpec
from api_schemas.task_spec import TaskSpec
from api_schemas.tasks import Task
from api_schemas.text_spec import TextSpec
from sources.datasets import table_files
from sources.glue import local_glue_files
from sources.label_forms.form import DEV_SHARE
from sources.settings import SourceSettings
from sources.tables import duck
from sources.tables.data_file import DataFile, allowed_file
from sources.tables.duck import connect, identifier, interrupted, scratch

#: Of each file; and rows of it whose texts are measured.
HEAD_BYTES, HEAD_ROWS = 2**20, 2000
#: A look at a Parquet's list of rows takes no longer, in seconds.
LOOK_SECONDS = 5.0
#: Of the texts of a row, where they cannot be measured.
GUESSED_BYTES = 150

Row = tuple[str, ...]
#: Gives the texts of the rows that begin in ``head``, as far as they are whole.
Reader = Callable[[str, list[str], ReadSpec], Iterator[Row]]

#: Of GLUE on the hub, where no folder has it: rows to train on, rows of all dev splits, and bytes of a row's texts.
ON_THE_HUB = {
    "cola": (8551, 1043, 41), "sst2": (67349, 872, 54), "mrpc": (3668, 408, 210), "stsb": (5749, 1500, 115),
    "qqp": (363846, 40430, 119), "mnli": (392702, 19647, 156), "qnli": (104743, 5463, 218), "rte": (2490, 277, 310),
    "wnli": (635, 71, 150),
}  # fmt: skip


@dataclass(frozen=True)
class _Part:
    """The rows of one file, and what is said where that is a guess."""

    size: SplitSize
    note: str | None = None


def data_size(spec: TaskSpec, text: TextSpec | None, settings: SourceSettings) -> DataSize:
    """Of a task that trains (``spec.trains``), whose files are read as it says; ``text`` is learnt from beside them.

    Never raises for what is in a file: what cannot be told is guessed, and ``unknown`` says so.
    """
    train, dev, notes = _glue(spec.glue, settings) if spec.glue else _own(spec, settings)
    train = train.of(min(train.rows, spec.max_train_rows or train.rows))
    more = _part(allowed_file(text.dataset, settings, "/recovery/text/dataset"), text.columns or spec.text_columns,
                 text.read) if text is not None else None  # fmt: skip
    beside = None
    if text is not None and more is not None:
        beside = more.size.of(min(more.size.rows, text.rows or more.size.rows))
        notes += [more.note] if more.note else []
    return DataSize(train, dev, beside, tuple(notes))


def _glue(task: Task, settings: SourceSettings) -> tuple[SplitSize, SplitSize, list[str]]:
    texts = len(task.columns)
    found: list[SplitSize] = []
    for split in ("train", *dict(task.splits)):
        files = local_glue_files(task, split, settings)
        if not files:
            train, dev, length = ON_THE_HUB[task.name]
            note = f"the rows of {task.name} are the hub's: their number and length are taken from a table"
            return SplitSize(train, [length], texts), SplitSize(dev, [length], texts), [note]
        found.append(_glue_split(task, files))
    train_size, first, *others = found
    return train_size, first.of(first.rows + sum(split.rows for split in others)), []


def _glue_split(task: Task, files: list[Path]) -> SplitSize:
    read = ReadSpec(delimiter="\t", quote="none", encoding="utf-8")
    parts = [
        _part(DataFile(path, path.name, "/task"), list(task.columns if path.suffix == ".tsv" else task.hub_columns),
              read, header=task.header).size for path in files
    ]  # fmt: skip
    return parts[0].of(sum(part.rows for part in parts))


def _own(spec: TaskSpec, settings: SourceSettings) -> tuple[SplitSize, SplitSize, list[str]]:
    train_file, dev_file = table_files(spec, settings)
    train = _part(train_file, spec.text_columns, spec.read)
    notes = [train.note] if train.note else []
    if dev_file is None:
        aside = max(1, round(train.size.rows * DEV_SHARE))
        return train.size.of(max(1, train.size.rows - aside)), train.size.of(aside), notes
    dev = _part(dev_file, spec.text_columns, spec.dev_read or spec.read)
    return train.size, dev.size, [*notes, *([dev.note] if dev.note else [])]


def _part(file: DataFile, columns: list[str], read: ReadSpec, header: tuple[str, ...] | None = None) -> _Part:
    columns = columns or ["text"]
    try:
        with file.within(LOOK_SECONDS).pinned() as pinned:
            if file.kind == ".parquet":
                return _Part(_parquet(pinned, columns))
            with pinned.path.open("rb") as opened:
                return _Part(_head(opened, file.kind, columns, read, header))
    except (LayercutError, OSError, ValueError, RecursionError, csv.Error, duck.Error, LookupError):
        size = file.path.stat().st_size if file.path.exists() else 0
        guess = SplitSize(max(1, size // 200), [GUESSED_BYTES])
        return _Part(guess, f"how many rows {file.name} has is guessed by its size")


def _head(opened: BinaryIO, kind: str, columns: list[str], read: ReadSpec, header: tuple[str, ...] | None) -> SplitSize:
    """By the rows that begin in the head of the file, in as many bytes as they take."""
    total, head = os.fstat(opened.fileno()).st_size, opened.read(HEAD_BYTES)
    whole = len(head) == total
    if not whole:
        head = head[: head.rfind(b"\n") + 1] or head
    text = head.decode(read.encoding if read.encoding not in (None, "auto") else "utf-8", "replace")
    if header is not None:
        text = (read.delimiter or "\t").join(header) + "\n" + text
    lengths = [sum(len(part.encode("utf-8", "replace")) for part in row) for row in READERS[kind](text, columns, read)]
    if not lengths:
        raise ValueError("no row in the head of the file")
    rows = len(lengths) if whole else round(len(lengths) * total / len(head))
    return SplitSize(rows, lengths[:HEAD_ROWS], len(columns))


def _delimited(head: str, columns: list[str], read: ReadSpec) -> Iterator[Row]:
    how: dict[str, Any] = {"delimiter": read.delimiter if read.delimiter not in (None, "auto") else ","}
    if read.quote == "none":
        how["quoting"] = csv.QUOTE_NONE
    elif read.quote not in (None, "auto"):
        how["quotechar"] = read.quote
    if read.escape == "backslash":
        how |= {"escapechar": "\\", "doublequote": False}
    rows = csv.reader(StringIO(head.removeprefix("\ufeff")), **how)
    header = next(rows, [])
    places = [header.index(column) for column in columns]
    return (tuple(row[at] for at in places) for row in rows if len(row) > max(places))


def _objects(head: str, columns: list[str], _: ReadSpec) -> Iterator[Row]:
    decoder, at = json.JSONDecoder(), 0
    while True:
        while at < len(head) and head[at] in "\ufeff[, \t\r\n":
            at += 1
        try:
            found, at = decoder.raw_decode(head, at)
        except ValueError:  # the end, or a row that is cut
            return
        if isinstance(found, dict):
            yield tuple(_said(found.get(column)) for column in columns)


def _said(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value or "")


def _lines(head: str, _: list[str], __: ReadSpec) -> Iterator[Row]:
    return ((line,) for line in head.splitlines() if line.strip())


def _sentences(head: str, _: list[str], __: ReadSpec) -> Iterator[Row]:
    """Words are the first column of each line, and an empty line ends a sentence."""
    words: list[str] = []
    for line in [*head.splitlines(), ""]:
        if line.strip():
            words.append(line.split()[0])
        elif words:
            yield (" ".join(words),)
            words = []


READERS: dict[str, Reader] = {
    ".csv": _delimited,
    ".tsv": _delimited,
    ".json": _objects,
    ".jsonl": _objects,
    ".ndjson": _objects,
    ".txt": _lines,
    ".conll": _sentences,
    ".iob": _sentences,
    ".bio": _sentences,
}


def _parquet(file: DataFile, columns: list[str]) -> SplitSize:
    sizes = " + ".join(f"coalesce(strlen(CAST({identifier(column)} AS VARCHAR)), 0)" for column in columns)
    with scratch() as folder, connect(file.path, folder) as (connection, name), interrupted(connection, file.deadline):
        rows = connection.execute(f"SELECT sum(num_rows) FROM parquet_file_metadata({name})").fetchone()
        if file.partial and rows:
            return SplitSize(int(rows[0]), [GUESSED_BYTES], len(columns))
        found = connection.execute(f"SELECT {sizes} FROM read_parquet({name}) LIMIT {HEAD_ROWS}")
        lengths = [int(length) for (length,) in islice(iter(found.fetchone, None), HEAD_ROWS)]
    return SplitSize(int(rows[0]) if rows else len(lengths), lengths, len(columns))
