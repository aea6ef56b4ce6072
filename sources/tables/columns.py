"""Which columns a table has, where nobody has named any."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from api_schemas.errors import LayercutError
from api_schemas.read_spec import ReadSpec
from sources.tables.data_file import DataFile
from sources.tables.dialects import Unclear, dialect_of, widest_header
from sources.tables.encodings import SAMPLE, UTF8, as_utf8, encoding_of, sample_of
from sources.tables.parquet_file import LIST_END, column_types, is_read

#: Of a JSON file, objects whose names are taken for its columns.
NAMED_ROWS = 1000
#: As Windows writes: what a file is taken for that is not UTF-8, to be shown.
OTHERWISE = "cp1252"


class NotSure(Exception):
    """A file that a job can read only where it is told more: ``args`` is what to say in ``task.read``."""


@dataclass(frozen=True)
class Columns:
    """``names`` hold texts, numbers or, where they are among ``lists``, lists; ``others`` what no job reads.

    ``read`` is how the file is to be opened; ``note`` what a job has to be told of it.
    """

    names: list[str]
    read: ReadSpec
    lists: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    note: str | None = None


def columns_of(file: DataFile, folder: Path) -> Columns:
    """Of a pinned ``file``; ``folder`` is for copies. Raises ``dataset_invalid`` and ``NotSure``."""
    return _FINDERS[file.kind](file, folder)


def _of_csv(file: DataFile, _: Path) -> Columns:
    encoding, note = _encoding(file)
    sample, cut = sample_of(file, encoding)
    if not sample.strip():
        raise file.error("the file has no rows", "1")
    delimiter, header = widest_header(sample, file.kind)
    names = [name for name in dict.fromkeys(header) if header.count(name) == 1]
    read = ReadSpec(delimiter=delimiter, encoding=encoding, bad_rows="skip")
    try:
        dialect_of(sample, names, file.kind, read, cut=cut)
    except Unclear as error:
        raise NotSure(error.args[0]) from None
    return Columns(names, read, others=sorted(set(header) - set(names)), note=note)


def _of_json(file: DataFile, folder: Path) -> Columns:
    encoding, note = _encoding(file)
    found: dict[str, bool] = {}
    for row in _first_objects(file, as_utf8(file, encoding, folder)):
        for name, value in row.items():
            found[name] = found.get(name, True) and not isinstance(value, dict)
    names = [name for name, is_single in found.items() if is_single]
    others = [name for name in found if name not in names]
    return Columns(names, ReadSpec(encoding=encoding, bad_rows="skip"), lists=names, others=others, note=note)


def _of_parquet(file: DataFile, folder: Path) -> Columns:
    types = column_types(file, folder)
    names = [name for name, kind in types.items() if is_read(kind, may_be_list=True)]
    lists = [name for name in names if LIST_END.search(types[name])]
    return Columns(names, ReadSpec(bad_rows="skip"), lists=lists, others=[name for name in types if name not in names])


_FINDERS: dict[str, Callable[[DataFile, Path], Columns]] = {
    ".csv": _of_csv,
    ".tsv": _of_csv,
    ".json": _of_json,
    ".jsonl": _of_json,
    ".ndjson": _of_json,
    ".parquet": _of_parquet,
}


def _encoding(file: DataFile) -> tuple[str, str | None]:
    """What the file is opened with, and what a job has to be told."""
    try:
        found = encoding_of(file, "auto")
    except LayercutError as error:
        raise NotSure(error.message.partition(": ")[2]) from None
    if found != UTF8 or _begins_as_utf8(file):
        return found, None
    return (
        OTHERWISE,
        f'it is not UTF-8, and was looked at as {OTHERWISE}: say task.read.encoding "{OTHERWISE}", or another',
    )


def _begins_as_utf8(file: DataFile) -> bool:
    with file.path.open("rb") as opened:
        start = opened.read(SAMPLE)
    try:
        codecs.getincrementaldecoder(UTF8)().decode(start)
    except UnicodeDecodeError:
        return False
    return True


def _first_objects(file: DataFile, path: Path) -> Iterator[dict[str, Any]]:
    """Of a list of objects, or an object a line, as far as they can be read."""
    with path.open("rb") as opened:
        start = opened.read(SAMPLE).decode(UTF8, "replace").lstrip("\ufeff \t\r\n")
    if not start:
        raise file.error("the file has no rows", "1")
    found = (row for row, _ in listed(start)) if start.startswith("[") else _by_line(file, path)
    yield from (row for row in islice(found, NAMED_ROWS) if isinstance(row, dict))


def listed(text: str) -> Iterator[tuple[Any, int]]:
    """The values of a JSON list, of which ``text`` may be the beginning, each with where it ends."""
    decoder, at = json.JSONDecoder(parse_constant=str), 0
    while True:
        while at < len(text) and text[at] in "[, \t\r\n":
            at += 1
        try:
            found, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):  # the end, a row that is cut, or what the reader will tell
            return
        yield found, at


def _by_line(file: DataFile, path: Path) -> Iterator[Any]:
    for line in islice(file.lines(path), NAMED_ROWS):
        try:
            yield json.loads(line.decode("utf-8-sig"), parse_constant=str)
        except (ValueError, RecursionError):
            continue
