"""What a safetensors file holds, from its header alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from api_schemas.errors import LayercutError

# The hub's own limit. The largest header of a supported family is a thousandth of it.
MAX_HEADER = 25_000_000


@dataclass(frozen=True)
class Tensor:
    """``dtype`` as safetensors writes it: F32, BF16, I64 …"""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def read_header(path: Path) -> dict[str, Tensor]:
    """Every tensor of the file; no weight is read.

    Raises ``model_invalid`` where the header is broken, or does not describe exactly this file (a broken download).
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    size = path.stat().st_size
    if size < 8 or length > min(MAX_HEADER, size - 8):
        raise LayercutError(
            "model_invalid",
            f"{path.name} is truncated or no safetensors file: it has {size} bytes and its header claims {length}",
            param="/model",
        )
    try:
        with safe_open(path, framework="np") as file:
            return {name: _tensor(file.get_slice(name)) for name in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise LayercutError(
            "model_invalid",
            f"{path.name} ({size} bytes) is truncated or broken: its header does not describe the file ({error})",
            param="/model",
        ) from None


def _tensor(part: object) -> Tensor:
    return Tensor(part.get_dtype(), tuple(part.get_shape()))  # type: ignore[attr-defined]
