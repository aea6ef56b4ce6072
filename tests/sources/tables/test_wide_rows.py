"""A row of thousands of fields is refused before DuckDB sees it; a long text in quotes is none."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from api_schemas.errors import LayercutError
from api_schemas.read_spec import ReadSpec
from sources.tables.data_file import DataFile
from sources.tables.table import Table


def rows(path: Path, **how: str) -> int:
    with Table(DataFile(path, path.name, "/task/dataset"), ["text"], "label", ReadSpec(**how)) as table:
        return table.profile.rows


@pytest.mark.parametrize("bad_rows", ["refuse", "skip"])
@pytest.mark.parametrize("before", [0, 200_000])
def test_a_wide_row_is_refused_with_its_line(tmp_path: Path, before: int, bad_rows: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text("text,label\n" + "some text,1\n" * before + "a," * 400_000 + "\n")

    with pytest.raises(LayercutError, match=rf"x\.csv:{before + 2}: the row has 400001 fields; at most 1024"):
        rows(path, bad_rows=bad_rows)


def test_a_long_text_with_many_commas_is_one_field(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), ("one, two " * 5000, "a"), ("short", "b")] * 1)

    assert rows(path) == 2
