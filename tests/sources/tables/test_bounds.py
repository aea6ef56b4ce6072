"""Small files that would become large ones are refused soon and without their memory; what is merely large is read."""

from __future__ import annotations

import encodings.aliases
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api_schemas.errors import LayercutError
from api_schemas.read_spec import ReadSpec
from api_schemas.task_spec import TaskSpec
from sources.datasets import check_table
from sources.settings import SourceSettings
from sources.tables import duck, table
from sources.tables.csv_file import CsvFile
from sources.tables.data_file import DataFile, allowed_file
from sources.tables.duck import connect, interrupted, scratch
from sources.tables.encodings import Copy
from sources.tables.table import Profile, Table

MIB = 2**20


#: Of what a process had at most, a 5 in the one begins anew, and the other tells.
CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@contextmanager
def within(seconds: float = 5.0, megabytes: int = 1000) -> Iterator[None]:
    """Of the processor, and of memory beyond what this process has at the beginning."""
    try:
        CLEAR.write_text("5", encoding="ascii")
    except OSError as error:
        pytest.skip(f"how much memory this takes cannot be measured here: {CLEAR}: {error.strerror}")
    before, started = most_memory(), time.process_time()
    yield
    assert time.process_time() - started < seconds
    assert most_memory() - before < megabytes * MIB


def most_memory() -> int:
    """In bytes, since it was last begun anew."""
    line = next(line for line in STATUS.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def test_memory_that_is_taken_and_given_back_is_measured_each_time() -> None:
    """By far: what earlier tests have freed goes back to the system at any time, from threads of the libraries."""
    for _ in range(2):
        with pytest.raises(AssertionError, match="most_memory"), within(megabytes=200):
            bytes(b"a" * 1500 * MIB)
    with within(megabytes=200):
        pass


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


HONEST = b"text,label\n" + b"a good film,1\na bad film,0\n" * 20


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.json", "x.parquet"])
def test_terabytes_that_nobody_wrote_are_refused_at_once(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(HONEST)
    with path.open("r+b") as file:
        file.truncate(2**30)

    with within(0.5, megabytes=50):
        refused(path, rf"{name}: of its 1073741824 bytes, \d+ or more were never written")


def test_a_parquet_whose_zeros_were_copied_sparsely_is_read(tmp_path: Path) -> None:
    rows, path = 400_000, tmp_path / "x.parquet"
    columns = {"text": [f"film {row}" for row in range(rows)], "label": [0, 1] * (rows // 2), "score": [0.0] * rows}
    pq.write_table(pa.table(columns), path, compression="none", use_dictionary=["label"])
    whole = path.read_bytes()
    with path.open("wb") as file:
        for at in range(0, len(whole), 4096):
            block = whole[at : at + 4096]
            file.seek(len(block), os.SEEK_CUR) if not any(block) else file.write(block)
    assert path.read_bytes() == whole
    assert 512 * path.stat().st_blocks < len(whole) - 2 * MIB

    assert read(path).rows == rows


def test_a_file_above_the_ceiling_is_refused_with_both_sizes(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(HONEST)
    settings = SourceSettings(data_roots=[tmp_path], table_bytes=100)
    spec = TaskSpec(dataset=str(path), text_columns=["text"], label_column="label")

    with pytest.raises(LayercutError, match=rf"has {len(HONEST)} bytes, more than the 100 that LAYERCUT_TABLE_BYTES"):
        check_table(spec, settings, 10)


@pytest.mark.parametrize("length", [5_000, 300, 1_000_000])
def test_a_path_that_no_file_can_have_is_refused_without_repeating_it(tmp_path: Path, length: int) -> None:
    with pytest.raises(LayercutError) as caught:
        allowed_file(f"{tmp_path}/" + "x" * length, SourceSettings(data_roots=[tmp_path]), "/task/dataset")
    assert caught.value.code == "dataset_not_allowed"
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("label", ["9" * 5000, "-" + "9" * 5000, "word" * 500, "1e999", "NaN", "-Infinity"])
@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.parquet"])
def test_what_is_too_long_or_too_large_for_a_label_is_refused_with_its_row(
    tmp_path: Path, name: str, label: str
) -> None:
    path, rows = tmp_path / name, [("a", "1"), ("b", "0")] * 5 + [("c", label)]
    if name == "x.parquet":
        pq.write_table(pa.table({"text": [text for text, _ in rows], "label": [label for _, label in rows]}), path)
    elif name == "x.jsonl":
        # A number where Python writes one, as a stranger would.
        path.write_text("".join(f'{{"text": "{text}", "label": {_json(label)}}}\n' for text, label in rows))
    else:
        path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    spec = TaskSpec(dataset=str(path), text_columns=["text"], label_column="label")

    with within(), pytest.raises(LayercutError) as caught:
        check_table(spec, SourceSettings(data_roots=[tmp_path]), 100)
    assert caught.value.code == "dataset_invalid"
    assert f"{name}:{'12' if name == 'x.csv' else '11' if name == 'x.jsonl' else 'row 11'}:" in caught.value.message
    assert len(caught.value.message) < 300


def _json(label: str) -> str:
    return json.dumps(label) if label.isalpha() else label


@pytest.mark.parametrize(
    ("written", "asked", "said"),
    [
        ("utf-16-le", "auto", 'byte 0 among the first ones: not UTF-8. task.read.encoding may be "utf-16-le"'),
        ("utf-16-le", "utf-16", "not UTF-16.* Say which"),
        ("utf-16-be", "utf-16", "not UTF-16.* Say which"),
        ("utf-32-le", "utf-32", "not UTF-32.* Say which"),
        ("utf-32-le", "utf-16-le", "no column 'text'"),
        ("utf-8", "utf-32", "not UTF-32"),
        ("utf-8", "utf-16-le", "not UTF-16-LE|no column"),
        ("utf-8", "idna", "no encoding 'idna'"),
        ("utf-8", "zip", "no encoding 'zip'"),
    ],
)
@pytest.mark.parametrize("name", ["x.csv", "x.jsonl"])
def test_an_encoding_that_is_not_the_files_is_refused(
    tmp_path: Path, name: str, written: str, asked: str, said: str
) -> None:
    text = HONEST.decode() if name == "x.csv" else '{"text": "a", "label": 1}\n' * 20
    (tmp_path / name).write_bytes(text.encode(written) + (b"a" if written.startswith("utf-16") else b""))

    refused(tmp_path / name, f"{said}|not JSON" if name == "x.jsonl" else said, encoding=asked)


@pytest.mark.parametrize(
    "encoding", sorted({*encodings.aliases.aliases.values(), "utf_8_sig", "cp1006", "unicode_escape"})
)
def test_no_encoding_of_pythons_is_more_than_a_refusal(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(HONEST + bytes(range(256)) * 3 + b"+2AA-\\,1\r")

    with within(), suppress(LayercutError):
        read(path, encoding=encoding)


def test_utf_7_without_an_end_does_not_wait_for_it(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"text,label\n+" + b"AAAA" * 8 * MIB)

    refused(path, "not UTF-7", encoding="utf-7")


def test_a_byte_order_mark_amid_the_text_is_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"\xef\xbb\xbf" + HONEST.replace(b"good", "go\ufeffod".encode()))

    assert read(path).rows == 40


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.csv", b"text,label\n" + b"\n" * 2_000_000, "x.csv:1: the file has no rows"),
        ("x.csv", b"\n" * 2_000_000, "x.csv:1: the file has no rows"),
        ("x.jsonl", b"\n" * 2_000_000, "x.jsonl:1: the file has no rows"),
        ("x.csv", b"text,label\n" + b"\r" * 2_000_000, "x.csv:2: not CSV: a carriage return stands alone"),
        ("x.csv", b"text,label\na,1\nb,0\n" + b"a\n" * 2_000_000, "x.csv:4: the row has 1 fields, the header has 2"),
        ("x.csv", b"text,label\n" + b"a" * 100 * MIB, "x.csv:2: not CSV: longer than 16 MiB"),
        ("x.csv", b"text,label\n" + b'"' * 100 * MIB, "x.csv:2: not CSV: longer than 16 MiB"),
        ("x.jsonl", b'{"text": "' + b"a" * 100 * MIB, "x.jsonl:1: the line is longer than 16 MiB"),
        ("x.json", b'[{"text": "' + b"a" * 100 * MIB + b'"}]', "not JSON"),
        ("x.json", b"[{}" + b",{}" * 5 * MIB + b"]", "x.json:row 1: 'text' is empty, or no text"),
        ("x.json", b"[" * 15 * MIB, "not JSON|more than 400MB of memory"),
        ("x.jsonl", b'{"text": "a", "label": ' + b"9" * 5000 + b"}\n", "label"),
    ],
    ids=lambda one: one[:40] if isinstance(one, str) else "content",
)
def test_megabytes_of_nothing_are_refused_soon(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    spec = TaskSpec(dataset=str(tmp_path / name), text_columns=["text"], label_column="label")

    with within(), pytest.raises(LayercutError, match=said):
        check_table(spec, SourceSettings(data_roots=[tmp_path]), 10**6)


def test_millions_of_bad_rows_are_not_all_told_of(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"text,label\na,1\nb,0\n" + b"a\n" * 1_000_000)

    refused(tmp_path / "x.csv", "more than 100000 rows cannot be read, the first the row has 1 fields", bad_rows="skip")


def test_some_bad_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(HONEST + b"too,many,fields\nfew\n" * 50 + HONEST.partition(b"\n")[2])

    with Table(
        DataFile(tmp_path / "x.csv", "x.csv", "/task/dataset"), ["text"], "label", ReadSpec(bad_rows="skip")
    ) as table:
        assert table.profile.rows == 80
        assert table.bad == {"too many fields": 50, "too few fields": 50}


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"text": [{"a": "x"}] * 20, "label": [0, 1] * 10}),
        pa.table({"text": ["x"] * 20, "label": [[0], [1]] * 10}),
        pa.table({"text": ["x"] * 20, "label": pa.array([[("a", 1)]] * 20, pa.map_(pa.string(), pa.int64()))}),
        pa.table({"text": [b"\xff"] * 20, "label": [0, 1] * 10}),
    ],
    ids=["struct", "list", "map", "bytes"],
)
def test_a_column_of_no_single_values_is_refused(tmp_path: Path, table: pa.Table) -> None:
    pq.write_table(table, tmp_path / "x.parquet")

    refused(tmp_path / "x.parquet", "holds neither texts nor numbers")


def test_a_text_of_parquet_is_as_long_as_a_row_may_be(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a" * 17 * MIB, "b"], "label": [0, 1]}), tmp_path / "x.parquet")

    refused(tmp_path / "x.parquet", "a row has 17825793 bytes of text; at most 16777216 are read")


def test_a_file_of_thousands_of_row_groups_is_refused(tmp_path: Path) -> None:
    table = pa.table({"text": ["a"] * 20_001, "label": ["b"] * 20_001})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=1, write_statistics=False)

    refused(tmp_path / "x.parquet", "20001 row groups; at most 20000|footer has")


def test_repetitive_texts_and_ten_thousand_rows_of_them_are_read(tmp_path: Path) -> None:
    text = [f"the same words over and over, number {number} " * 100 for number in range(10_000)]
    table = pa.table({"text": text, "label": [0, 1] * 5_000})
    pq.write_table(table, tmp_path / "x.parquet", compression="zstd", use_dictionary=False)
    assert table.nbytes > 100 * (tmp_path / "x.parquet").stat().st_size

    assert read(tmp_path / "x.parquet").rows == 10_000


def test_a_look_ends_when_its_time_is_over(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(HONEST)
    with DataFile(path, path.name, "/task/dataset").within(0.0).pinned() as file:
        with pytest.raises(LayercutError, match="takes longer than 0 s to look through"):
            list(file.blocks())
        with scratch() as folder, connect(path, folder) as (connection, _):
            endless = "SELECT sum(a.range * b.range) FROM range(1000000) a, range(1000000) b"
            with interrupted(connection, file.deadline), pytest.raises(duckdb.InterruptException):
                connection.execute(endless).fetchall()


def test_a_look_whose_time_ends_between_two_batches_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(HONEST + b"one more film,1\n" * 200_000)

    with Table(DataFile(path, path.name, "/task/dataset"), ["text"], "label", ReadSpec(), limit=10**6) as looked_at:
        batches = looked_at.batches()
        next(batches)
        looked_at._connection.interrupt()  # as it is when the time is over
        with pytest.raises(LayercutError, match="takes longer than 100 s to look through"):
            list(batches)


def test_a_look_whose_time_ends_before_its_bad_rows_are_told_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def until_the_end(file: CsvFile, first: Iterator[tuple[str | None, ...]]) -> bool:
        found = agrees(file, first)
        if file.counted:
            time.sleep(max(0.0, file.file.deadline - time.monotonic()))
        return found

    agrees = CsvFile.agrees
    monkeypatch.setattr(CsvFile, "agrees", until_the_end)
    monkeypatch.setattr(table, "LOOK_SECONDS", 1.4)
    monkeypatch.setattr(duck, "AGAIN", 0.0001)
    path = tmp_path / "x.csv"
    path.write_bytes(HONEST + b"one,two,three\n" * 20_000)

    refused(path, "takes longer than 1 s to look through", bad_rows="skip")


def test_a_copy_takes_no_more_room_than_there_is(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    with Copy(DataFile(path, path.name, "/task/dataset"), tmp_path / "copy") as copy:
        copy.room = 100
        copy.write("a" * 100)
        with pytest.raises(LayercutError, match="takes more room than there is"):
            copy.write("b")
    assert (tmp_path / "copy").read_bytes() == b"a" * 100
