"""Headers of safetensors files: what is taken is what the format's own library takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize

from api_schemas.errors import LayercutError
from sources.headers import BITS, Layout, read_layout

Rows = dict[str, dict[str, Any]]


def row(dtype: str, shape: list[int], start: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def blob(rows: Rows, size: int) -> bytes:
    header = json.dumps(rows).encode()
    return len(header).to_bytes(8, "little") + header + bytes(size)


def ours(folder: Path, content: bytes) -> Layout | None:
    file = folder / "model.safetensors"
    file.write_bytes(content)
    try:
        return read_layout(file)
    except LayercutError:
        return None


def library_takes(content: bytes) -> bool:
    try:
        deserialize(content)
    except SafetensorError:
        return False
    return True


def test_our_types_are_those_of_the_library(tmp_path: Path) -> None:
    with pytest.raises(SafetensorError) as told:
        deserialize(blob({"x": row("NONE", [8], 0, 8)}, 8))
    for dtype in set(str(told.value).split("`")[3::2]):
        bits = BITS[dtype]
        for size in (bits, bits + 1):
            content = blob({"x": row(dtype, [8], 0, size)}, size)
            assert (ours(tmp_path, content) is not None) == library_takes(content) == (size == bits), (dtype, size)
    assert len(set(str(told.value).split("`")[3::2])) == len(BITS)


@pytest.mark.parametrize(
    ("rows", "size", "said"),
    [
        ({"x": row("F5", [2], 0, 8)}, 8, "'x' is of the type 'F5', which the format does not have"),
        ({"x": row("F32", [2], 4, 12)}, 12, "'x' begins at 4, and what is before it ends at 0"),
        (
            {"x": row("F32", [2], 0, 8), "y": row("U8", [4], 4, 8)},
            8,
            "'y' begins at 4, and what is before it ends at 8",
        ),
        ({"x": row("F32", [2, 3], 0, 8)}, 8, r"'x' of the shape \[2, 3\] cannot have 8 bytes of F32"),
        ({"x": row("F4", [3], 0, 1)}, 1, r"'x' of the shape \[3\] cannot have 1 bytes of F4"),
        ({"x": row("F32", [2], 0, 8)}, 9, "its tensors end at"),
    ],
)
def test_a_header_that_does_not_fit_is_refused_with_what_does_not(
    tmp_path: Path, rows: Rows, size: int, said: str
) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(blob(rows, size))
    assert not library_takes(file.read_bytes())
    with pytest.raises(LayercutError, match=said):
        read_layout(file)


SPANS = st.tuples(st.integers(0, 12), st.integers(0, 12))
ROW = st.builds(
    lambda dtype, shape, span: row(dtype, shape, *span),
    st.sampled_from(["F32", "BF16", "U8", "F4"]),
    st.lists(st.integers(0, 3), max_size=2),
    SPANS,
)


@given(rows=st.dictionaries(st.sampled_from("abc"), ROW, max_size=3), size=st.integers(0, 12))
def test_whatever_the_spans_we_decide_as_the_library_does(
    tmp_path_factory: pytest.TempPathFactory, rows: Rows, size: int
) -> None:
    content = blob(rows, size)
    assert (ours(tmp_path_factory.getbasetemp(), content) is not None) == library_takes(content)
