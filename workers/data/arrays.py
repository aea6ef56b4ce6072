"""Arrays of the cache, which a runner wrote: read as their header says only where the file has as much."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from sources.beneath import open_regular
from sources.cached_files import Unusable


def read_array(path: Path, *, dimensions: int | tuple[int, ...] = 1, finite: bool = True) -> npt.NDArray[Any]:
    """The numbers in a file that ``np.save`` wrote, all of them finite if they must be; raises ``Unusable``."""
    wanted = (dimensions,) if isinstance(dimensions, int) else dimensions
    try:
        with open_regular(path.parent, path.name) as file:
            if npy.read_magic(file) != (1, 0):
                raise ValueError("its version is not 1.0")
            shape, _, dtype = npy.read_array_header_1_0(file)
            size = file.tell() + math.prod(shape) * dtype.itemsize
            if dtype.kind not in "fiub" or len(shape) not in wanted or size != os.fstat(file.fileno()).st_size:
                raise ValueError(f"it says to be {dtype} {shape}")
            file.seek(0)
            found: npt.NDArray[Any] = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise Unusable(path.name, str(error)[:200]) from None
    if finite and not np.isfinite(found).all():
        raise Unusable(path.name, "a number in it is not finite")
    return found


def map_array(path: Path, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """The numbers of a file that has nothing else in it, where they lie; raises ``Unusable``."""
    try:
        with open_regular(path.parent, path.name) as file:
            return np.memmap(file, dtype=dtype, mode="r").view(np.ndarray)
    except (OSError, ValueError) as error:
        raise Unusable(path.name, str(error)[:200]) from None
