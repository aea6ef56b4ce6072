"""Rows that cannot be read: the first is told with its line, or they are left out, without a copy of the file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from api_schemas.errors import LayercutError
from api_schemas.read_spec import ReadSpec
from sources.tables import csv_file, data_file, encodings
from sources.tables.data_file import DataFile
from sources.tables.table import Table

NEW_LINE = b"\n"
ROWS = b"a good film,1\na bad film,0\n" * 50
MULTI = b'"a film,\nin two lines ""of"" text",1\n"another,\n\nin three",0\n' * 50


@pytest.fixture(autouse=True)
def no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a copy of a file: as for one of many gigabytes."""
    monkeypatch.setattr(data_file, "LOOK_COPY_BYTES", 1000)


@pytest.fixture(params=[100_000, 0], ids=["by DuckDB", "by Python"])
def told(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who tells of the bad row, which is not in the sample: DuckDB does not of too many."""
    monkeypatch.setattr(csv_file, "MOST_BAD", request.param)
    monkeypatch.setattr(encodings, "SAMPLE", 500)


def read(path: Path, **how: str) -> tuple[int, Counter[str]]:
    with Table(DataFile(path, path.name, "/task/dataset"), ["text"], "label", ReadSpec(**how), limit=10**6) as table:
        return table.profile.rows, table.bad


@pytest.mark.parametrize("start", [ROWS, MULTI], ids=["lines", "texts of several lines"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.usefixtures("told")
def test_a_file_that_ends_in_the_midst_of_a_row_is_refused_with_its_line(
    tmp_path: Path, start: bytes, end: str
) -> None:
    """One that was not copied to its end."""
    path, whole = tmp_path / "x.csv", b"text,label\n" + start
    path.write_bytes(whole.replace(NEW_LINE, end.encode()) + b"half a film")
    with pytest.raises(LayercutError, match=f"^x.csv:{whole.count(NEW_LINE) + 1}: the row has 1 fields"):
        read(path)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (b"one,two,three\n", "the row has 3 fields, the header has 2"),
        (b"few\n", "the row has 1 fields, the header has 2"),
        (b'"two"words,1\n', "not CSV: quotes that do not match"),
        (b"caf\xe9,1\n", "not UTF-8; task.read.encoding may be"),
    ],
    ids=["many", "few", "quotes", "bytes"],
)
@pytest.mark.parametrize(
    "start",
    [b"text,label\n" + ROWS, b"\xef\xbb\xbftext,label\n" + ROWS, b"text,label\n" + MULTI],
    ids=["lines", "byte order mark", "texts of several lines"],
)
@pytest.mark.usefixtures("told")
def test_the_line_of_the_first_bad_row_is_told_without_a_copy(
    tmp_path: Path, bad: bytes, said: str, start: bytes
) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(start + bad + ROWS)

    with pytest.raises(LayercutError, match=rf"^x\.csv:{start.count(NEW_LINE) + 1}: {said}"):
        read(path)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_texts_of_several_lines_are_not_taken_for_bad_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(csv_file, "MOST_BAD", 10)
    path = tmp_path / "x.csv"
    path.write_bytes((b"text,label\n" + MULTI + b"one,two,three\n" + MULTI).replace(b"\n", end.encode()))

    assert read(path, bad_rows="skip") == (200, {"too many fields": 1})
