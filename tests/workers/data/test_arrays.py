"""Arrays that another runner has left: what the header claims is not believed."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sources.cached_files import Unusable
from workers.data.arrays import map_array, read_array


def saved(array: Any, *, pickled: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=pickled)
    return file.getvalue()


def claiming(shape: str) -> bytes:
    """The file of three numbers, whose header says that it is of another shape."""
    return saved(np.zeros(3)).replace(b"(3,), ", f"({shape},), ".encode(), 1)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no array at all",
        claiming(str(2**62)),
        claiming("2"),
        saved(np.zeros(3))[:-1],
        saved(np.zeros(3)) + b"x",
        saved(np.zeros((3, 1))),
        saved(np.array(["a", "b"])),
        saved(np.array([{}, {}]), pickled=True),
        saved(np.array([1.0, np.nan])),
        saved(np.array([1.0, np.inf], np.float32)),
    ],
    ids=["empty", "text", "huge", "fewer", "cut", "more", "deeper", "words", "objects", "nan", "infinite"],
)
def test_an_array_that_is_not_what_it_says_is_unusable(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "gold.npy").write_bytes(content)
    with pytest.raises(Unusable):
        read_array(tmp_path / "gold.npy")


def test_what_is_no_regular_file_is_unusable(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gold.npy")
    (tmp_path / "ids.bin").write_bytes(b"xyz")
    with pytest.raises(Unusable):
        read_array(tmp_path / "gold.npy")
    with pytest.raises(Unusable):
        map_array(tmp_path / "ids.bin", np.int32)


def test_what_was_saved_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "gold.npy", np.arange(6, dtype=np.float32).reshape(2, 3))
    assert read_array(tmp_path / "gold.npy", dimensions=2).tolist() == [[0, 1, 2], [3, 4, 5]]
    np.arange(5, dtype=np.int32).tofile(tmp_path / "ids.bin")
    assert map_array(tmp_path / "ids.bin", np.int32).tolist() == [0, 1, 2, 3, 4]
