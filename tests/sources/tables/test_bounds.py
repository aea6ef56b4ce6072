"""Small files that would become large ones are refused soon and without their memory; what is merely large is read."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api_schemas.errors import LayercutError
from api_schemas.read_spec import ReadSpec
from sources.tables.data_file import DataFile
from sources.tables.table import Profile, Table

MIB = 2**20


@contextmanager
def within(seconds: float = 5.0, megabytes: int = 1000) -> Iterator[None]:
    """Of the processor, and of what this process had at most so far."""
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    yield
    assert time.process_time() - started < seconds
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < megabytes * 1024


def read(path: Path, **how: str) -> Profile:
    with Table(DataFile(path, path.name, "/task/dataset"), ["text"], "label", ReadSpec(**how), limit=10**6) as table:
        return table.profile


def refused(path: Path, said: str, **how: str) -> None:
    with within(), pytest.raises(LayercutError, match=said) as caught:
        read(path, **how)
    assert caught.value.code == "dataset_invalid"
    assert len(caught.value.message) < 2000


def repeated(path: Path, text: str, rows: int) -> Path:
    """A table in which one text, once in the file, stands in every row."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * rows), pa.array([text]))
    pq.write_table(pa.table({"text": texts, "label": [0, 1] * (rows // 2)}), path, compression="zstd")
    return path


def test_a_text_that_stands_in_every_row_is_not_read_four_hundred_times(tmp_path: Path) -> None:
    path = repeated(tmp_path / "x.parquet", "a" * 10_000_000, 400)

    refused(path, r"the texts of 400 rows have 4000000400 bytes, and the file \d+: it repeats itself")


def test_short_texts_that_repeat_themselves_without_end_are_refused(tmp_path: Path) -> None:
    path = repeated(tmp_path / "x.parquet", "a" * 10_000, 200_000)

    refused(path, r"have 2000200000 bytes, and the file \d+: it repeats itself more than 1000 times")


def test_a_table_of_long_texts_is_handed_on_in_small_batches(tmp_path: Path) -> None:
    path = repeated(tmp_path / "x.parquet", "a" * 10_000_000, 20)

    with Table(DataFile(path, path.name, "/task/dataset"), ["text"], "label", ReadSpec()) as table:
        batches = [sum(len(text) for text, *_ in batch) for batch in table.batches()]
    assert sum(batches) == 200_000_000
    assert max(batches) < 64 * MIB


def varint(number: int) -> bytes:
    """As Parquet's footer has its whole numbers, which are not below zero."""
    found, number = bytearray(), 2 * number
    while number > 127:
        found.append(number % 128 + 128)
        number //= 128
    return bytes([*found, number])


def footer_says(path: Path, true: int, said: int) -> None:
    """Put another number in the footer, whose length is by its own side."""
    content = path.read_bytes()
    length = int.from_bytes(content[-8:-4], "little")
    footer = content[-8 - length : -8].replace(varint(true), varint(said))
    assert footer != content[-8 - length : -8]
    path.write_bytes(content[: -8 - length] + footer + len(footer).to_bytes(4, "little") + b"PAR1")


def test_what_a_footer_says_to_be_large_is_not_decoded(tmp_path: Path) -> None:
    path = repeated(tmp_path / "x.parquet", "a" * 100_000, 10)
    true = pq.read_metadata(path).row_group(0).column(0).total_uncompressed_size
    footer_says(path, true, 2**31)

    refused(path, r"the file says to have \d+ bytes when it is decoded; at most 1073741824 are read")


def test_a_prompt_that_stands_in_every_row_is_read(tmp_path: Path) -> None:
    path = repeated(tmp_path / "x.parquet", "Say whether this review is good or bad. " * 20, 500_000)

    assert read(path).rows == 500_000
