"""The file of a W&B run, as `wandb sync` would read it: records of its own protocol in the framing of LevelDB's log."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

BLOCK, HEADER, IDENT = 32768, 7, b":W&B"
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def read_run(file: Path) -> Iterator[Any]:
    """Its records, as wandb's own messages."""
    from wandb.proto.wandb_internal_pb2 import Record  # noqa: PLC0415 - takes seconds, and few tests want it

    for content in _records(file.read_bytes()):
        record = Record()
        record.ParseFromString(content)
        yield record


def history(records: list[Any]) -> list[dict[str, Any]]:
    """What was logged, without wandb's own fields."""
    found = [_values(one.history.item) for one in records if one.history.item]
    return [{name: value for name, value in row.items() if not name.startswith("_")} for row in found]


def config(records: list[Any]) -> dict[str, Any]:
    """As it became."""
    updates = [item for one in records for item in (*one.run.config.update, *one.config.update)]
    return {_key(item): json.loads(item.value_json) for item in updates if not _key(item).startswith("_")}


def summary(records: list[Any]) -> dict[str, Any]:
    """As it became."""
    return _values(item for one in records for item in one.summary.update)


def _values(items: Iterable[Any]) -> dict[str, Any]:
    return {_key(item): json.loads(item.value_json) for item in items}


def _key(item: Any) -> str:
    return item.key or "/".join(item.nested_key)


def _records(raw: bytes) -> Iterator[bytes]:
    assert raw.startswith(IDENT)
    at, begun = HEADER, b""
    while at + HEADER <= len(raw):
        if BLOCK - at % BLOCK < HEADER:  # too little for a header is left empty
            at += BLOCK - at % BLOCK
            continue
        sum_, size, kind = int.from_bytes(raw[at : at + 4], "little"), raw[at + 4] | raw[at + 5] << 8, raw[at + 6]
        if kind == 0:
            return
        content = raw[at + HEADER : at + HEADER + size]
        assert zlib.crc32(bytes([kind]) + content) == sum_
        begun = content if kind in (FULL, FIRST) else begun + content
        if kind in (FULL, LAST):
            yield begun
        at += HEADER + size
