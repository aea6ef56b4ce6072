"""What a safetensors file holds, from its header alone."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from api_schemas.errors import LayercutError

# A third of the hub's own limit. The largest header of a supported family is a fiftieth of it.
MAX_HEADER = 8_000_000
#: Of all files of a model together.
MAX_HEADERS = 2 * MAX_HEADER
#: The largest of the supported families have some two thousand.
MAX_TENSORS = 20_000
LONGEST_NAME = 256
LONGEST_DTYPE = 16
#: PyTorch's tensors have 64 at most; those of a model, five.
MAX_DIMENSIONS = 16
#: Commas and brackets: each tensor takes eight, and one for each dimension. Of a text in the metadata, its own count.
MAX_VALUES = MAX_TENSORS * (8 + MAX_DIMENSIONS)
#: Sizes and offsets are numbers of 64 bits.
LARGEST = 2**63 - 1
#: Of a number of each type that the format has; a tensor's shape and its bytes must say the same.
BITS = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E5M2FNUZ": 8, "F8_E4M3FNUZ": 8,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip


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
    begin = begin_of(file.read(8), size, name)
    header = file.read(begin - 8)
    return layout_from(header, name, size)


def begin_of(start: bytes, size: int, name: str) -> int:
    """Where the header of a file of ``size`` bytes ends, from its first eight; raises ``model_invalid``."""
    length = int.from_bytes(start[:8], "little")
    if len(start) < 8 or length > min(MAX_HEADER, size - 8):
        raise invalid(f"{name} is truncated or no safetensors file: it has {size} bytes and its header claims {length}")
    return 8 + length


def layout_from(header: bytes, name: str, size: int) -> Layout:
    """As ``layout_of``, from the header alone of a file of ``size`` bytes that is not here."""
    _check_counts(header, name)
    return _read(header, name, size)


def _read(header: bytes, name: str, size: int) -> Layout:
    try:
        rows = json.loads(header.decode("utf-8"))
        metadata = rows.pop("__metadata__", None) or {}
        tensors = {key: _tensor(row) for key, row in rows.items()}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise _no_header(name) from None
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise _no_header(name)
    if len(tensors) > MAX_TENSORS:
        raise _too_many(name)
    odd = next((key for key in tensors if len(key) > LONGEST_NAME or not key.isprintable()), None)
    if odd is not None:
        raise invalid(f"{name} has a tensor {odd[:100]!r}: names are at most {LONGEST_NAME} printable characters")
    _check_spans(tensors, name)
    begin = 8 + len(header)
    end = begin + max((tensor.end for tensor in tensors.values()), default=0)
    if end != size:
        raise invalid(f"{name} is truncated or broken: it has {size} bytes, and its tensors end at {end}")
    return Layout(tensors, metadata, begin)


def _tensor(row: Any) -> Tensor:
    """Raises ``TypeError``, ``ValueError`` and ``LookupError`` for what is none: ``row`` may be anything."""
    start, end = row["data_offsets"]
    dtype, shape = row["dtype"], row["shape"]
    if not isinstance(dtype, str) or len(dtype) > LONGEST_DTYPE:
        raise TypeError
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS:
        raise TypeError
    if not all(type(size) is int and 0 <= size <= LARGEST for size in (*shape, start, end)):
        raise TypeError
    tensor = Tensor(dtype, tuple(shape), start, end)
    if tensor.size > LARGEST:
        raise ValueError
    return tensor


def _check_counts(header: bytes, name: str) -> None:
    """A value takes a hundred bytes of memory once it is read: they are counted before."""
    if header.count(b"data_offsets") > MAX_TENSORS:
        raise _too_many(name)
    values = sum(map(header.count, (b",", b"[", b"{")))
    if values > MAX_VALUES:
        raise invalid(f"the header of {name} has {values} values or more; at most {MAX_VALUES} are read")


def _no_header(name: str) -> LayercutError:
    return invalid(f"{name} is truncated or broken: its header is not that of a safetensors file")


def _too_many(name: str) -> LayercutError:
    return invalid(f"{name} has more than {MAX_TENSORS} tensors, which no supported model has")


def _check_spans(tensors: dict[str, Tensor], name: str) -> None:
    """As the format's own library does, which opens no file without numpy or torch: types that it has, bytes that fit
    the shapes, and spans without holes.
    """
    end = 0
    for key, tensor in sorted(tensors.items(), key=lambda row: (row[1].start, row[1].end)):
        bits = BITS.get(tensor.dtype)
        if bits is None:
            raise _does_not_fit(name, f"{key!r} is of the type {tensor.dtype!r}, which the format does not have")
        if tensor.start != end:
            raise _does_not_fit(name, f"{key!r} begins at {tensor.start}, and what is before it ends at {end}")
        if 8 * (tensor.end - tensor.start) != tensor.size * bits:
            span = f"{tensor.end - tensor.start} bytes"
            raise _does_not_fit(name, f"{key!r} of the shape {list(tensor.shape)} cannot have {span} of {tensor.dtype}")
        end = tensor.end


def _does_not_fit(name: str, why: str) -> LayercutError:
    return invalid(f"{name} is truncated or broken: its header does not describe the file: {why}")
