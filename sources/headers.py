"""What a safetensors file holds, from its header alone."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from api_schemas.errors import LayercutError

# The hub's own limit. The largest header of a supported family is a thousandth of it.
MAX_HEADER = 25_000_000


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
    """Where every tensor of the file lies; no weight is read.

    Raises ``model_invalid`` where the header is broken, or does not describe exactly this file (a broken download).
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(MAX_HEADER, size - 8):
            raise invalid(
                f"{path.name} is truncated or no safetensors file: it has {size} bytes and its header claims {length}"
            )
        header = file.read(length)
    _check(path, size)
    rows = json.loads(header)
    metadata = rows.pop("__metadata__", None) or {}
    tensors = {name: Tensor(row["dtype"], tuple(row["shape"]), *row["data_offsets"]) for name, row in rows.items()}
    return Layout(tensors, metadata, 8 + length)


def _check(path: Path, size: int) -> None:
    """The library knows best what a right header is: types, shapes, and spans without holes up to the file's end."""
    try:
        with safe_open(path, framework="np"):
            pass
    except SafetensorError as error:
        raise invalid(
            f"{path.name} ({size} bytes) is truncated or broken: its header does not describe the file ({error})"
        ) from None
