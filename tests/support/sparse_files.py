"""Files that say to have a terabyte and take no room on the disk."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.support.tiny_checkpoints import bert_tensors

TERABYTE = 2**40
DTYPES = {"float32": "F32", "int64": "I64"}


def write_huge_weights(path: Path, more: int = TERABYTE) -> int:
    """A sound safetensors file of a tiny BERT with one more tensor of ``more`` bytes, all of it a hole; its size."""
    rows, end = {}, 0
    for name, tensor in bert_tensors().items():
        dtype, shape = DTYPES[str(tensor.dtype)], list(tensor.shape)
        rows[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + tensor.nbytes]}
        end += tensor.nbytes
    rows["huge.weight"] = {"dtype": "F32", "shape": [more // 4], "data_offsets": [end, end + more]}
    header = json.dumps(rows).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    size = 8 + len(header) + end + more
    os.truncate(path, size)
    return size


def stretch(path: Path, size: int = TERABYTE) -> None:
    """Make ``path``, which may be there, ``size`` bytes long; what is beyond its content is a hole."""
    path.touch()
    os.truncate(path, size)
