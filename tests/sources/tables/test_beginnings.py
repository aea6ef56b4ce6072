"""The beginning of a large table ends where a row does."""

from __future__ import annotations

from pathlib import Path

import pytest

from sources.tables.beginnings import write_head

ROWS = b"text,label\n" + b"a fine film,good\n" * 1000


def head(tmp_path: Path, kind: str, data: bytes) -> bytes:
    path = tmp_path / "head"
    assert write_head(path, kind, [data]) == path.stat().st_size
    return path.read_bytes()


@pytest.mark.parametrize("kind", [".csv", ".tsv", ".jsonl"])
def test_the_last_row_that_is_whole_is_the_end(kind: str, tmp_path: Path) -> None:
    assert head(tmp_path, kind, ROWS + b"half of a r") == ROWS


def test_a_line_end_within_quotes_ends_no_row(tmp_path: Path) -> None:
    assert head(tmp_path, ".csv", ROWS + b'"a cell\nof two lines') == ROWS
    assert head(tmp_path, ".csv", ROWS + b'"a cell\nof ""two"" lines\nor three",bad\nhalf') == (
        ROWS + b'"a cell\nof ""two"" lines\nor three",bad\n'
    )


def test_a_quote_that_opens_no_cell_costs_no_row_but_the_last(tmp_path: Path) -> None:
    inch = b'text,label\na 5" pipe,good\n' + b'"a","b"\n' * 200_000
    assert head(tmp_path, ".csv", inch + b'"half') == inch
