"""What a safetensors file holds, from its header alone."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from safetensors import SafetensorError, safe_open

from api_schemas.errors import LayercutError

# A third of the hub's own limit. The largest header of a supported family is a fiftieth of it.
MAX_HEADER = 8_000_000
#: Of all files of a model together.
MAX_HEADERS = 2 * MAX_HEADER
#: The largest of the supported families have some two thousand.
MAX_TENSORS = 20_000
LONGEST_NAME = 256


@dataclass(frozen=True)
class Tensor:
    """``dtype`` as safetensors writes it: F32, BF16, I64 … Its bytes go from ``start`` to ``end``, counted from where
    the header ends.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """A whole header. ``begin`` is where it ends and the tensors' bytes begin, from the start of the file."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    begin: int


def invalid(message: str) -> LayercutError:
    return LayercutError("model_invalid", message, param="/model")


def read_layout(path: Path) -> Layout:
    """As ``layout_of``, of a file of our own."""
    with path.open("rb") as file:
        return layout_of(file, path.name)


def layout_of(file: BinaryIO, name: str) -> Layout:
    """Where every tensor of the file, which errors call ``name``, lies; no weight is read.

    Raises ``model_invalid`` where the header is broken, has more than ``MAX_TENSORS`` tensors, or does not describe
    exactly this file (a broken download).
    """
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(MAX_HEADER, size - 8):
        raise invalid(f"{name} is truncated or no safetensors file: it has {size} bytes and its header claims {length}")
    header = file.read(length)
    if header.count(b"data_offsets") > MAX_TENSORS:
        raise _too_many(name)
    _check(file, name, size)
    return Layout(*_read(header, name), 8 + length)


def _read(header: bytes, name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        rows = json.loads(header.decode("utf-8"))
        metadata = rows.pop("__metadata__", None) or {}
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise _no_header(name) from None
    return checked_tensors(rows, name), metadata


def checked_tensors(rows: Mapping[str, Any], name: str) -> dict[str, Tensor]:
    """The tensors of a header, whose ``rows`` may be anything; raises ``model_invalid``."""
    if len(rows) > MAX_TENSORS:
        raise _too_many(name)
    try:
        tensors = {key: _tensor(row) for key, row in rows.items()}
    except (ValueError, LookupError, TypeError):
        raise _no_header(name) from None
    odd = next((key for key in tensors if len(key) > LONGEST_NAME or not key.isprintable()), None)
    if odd is not None:
        raise invalid(f"{name} has a tensor {odd[:100]!r}: names are at most {LONGEST_NAME} printable characters")
    return tensors


def _tensor(row: Any) -> Tensor:
    start, end = row["data_offsets"]
    shape = tuple(row["shape"])
    if not isinstance(row["dtype"], str) or not all(type(size) is int and size >= 0 for size in (*shape, start, end)):
        raise TypeError
    return Tensor(row["dtype"], shape, start, end)


def _no_header(name: str) -> LayercutError:
    return invalid(f"{name} has a header that is not that of a safetensors file")


def _too_many(name: str) -> LayercutError:
    return invalid(f"{name} has more than {MAX_TENSORS} tensors, which no supported model has")


def _check(file: BinaryIO, name: str, size: int) -> None:
    """The library knows best what a right header is: types, shapes, and spans without holes up to the file's end."""
    try:
        # It opens paths only. This one is the file that is open, whatever lies in its place by now.
        with safe_open(f"/dev/fd/{file.fileno()}", framework="np"):
            pass
    except (SafetensorError, OSError) as error:
        raise invalid(
            f"{name} ({size} bytes) is truncated or broken: its header does not describe the file ({str(error)[:300]})"
        ) from None
