"""What is told of data that was sent: columns, rows, counts of labels, and the lines that are no rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from api_schemas.errors import LayercutError
from api_schemas.uploads import TableInspection
from sources.tables import beginnings
from sources.uploads import datasets
from sources.uploads.datasets import StoredData, inspect_dataset, inspect_file

CSV = 'text,label\ngood film,1\n"bad, film",0\nbroken,1,2\nfine,1\nso so,0\nonly\n'

Store = Callable[[str, str | bytes], StoredData]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Keeps a file where this machine can read it in place."""

    def keep(name: str, content: str | bytes) -> StoredData:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return kept(path, in_place=True)

    return keep


def kept(path: Path, *, in_place: bool) -> StoredData:
    def read(start: int, end: int) -> Iterator[bytes]:
        with path.open("rb") as file:
            file.seek(start)
            yield file.read(end - start)

    return StoredData(path.name, path.stat().st_size, read, path if in_place else None)


def columns(found: TableInspection) -> dict[str, str]:
    return {column.name: column.type for column in found.columns}


def test_a_csv_is_told_with_its_bad_lines(store: Store) -> None:
    found = inspect_file(store("reviews.csv", CSV))
    assert (found.format, found.rows, found.complete, found.bad_rows) == ("csv", 4, True, 2)
    assert columns(found) == {"text": "text", "label": "integer"}
    assert found.columns[0].examples == ["good film", "bad, film", "fine"]
    assert found.label_counts == {"label": {"0": 2, "1": 2}}
    assert [(line.line, line.text) for line in found.bad_lines] == [(4, "broken,1,2"), (7, "only")]
    assert found.bad_lines[0].reason.startswith("the row has 3 fields, the header has 2")


def test_bad_lines_are_found_where_a_field_has_lines_of_its_own(store: Store) -> None:
    content = 'text,label\n"two\nlines",1\nbad\nfine,0\n"three\n\nlines",1\n1,2,3\n' + "fine,0\n" * 5000 + "late\n"
    found = inspect_file(store("reviews.csv", content))
    assert [(line.line, line.text) for line in found.bad_lines] == [(4, "bad"), (9, "1,2,3"), (5010, "late")]


def test_types_missing_values_and_few_values(store: Store) -> None:
    rows = [f"row {at},{at % 3},{at / 4},{'yes' if at % 2 else ''},true,," for at in range(200)]
    header = "text,number,share,maybe,flag,empty,"
    found = inspect_file(store("data.csv", "\n".join([header, *rows])))
    kinds = {"text": "text", "number": "integer", "share": "number", "maybe": "text", "flag": "boolean"}
    assert columns(found) == {**kinds, "empty": "empty", "": "empty"}
    told = {column.name: column for column in found.columns}
    assert (told["maybe"].nulls, told["empty"].nulls, told["text"].nulls) == (100, 200, 0)
    assert (told["number"].distinct, told["text"].distinct) == (3, None)
    assert found.label_counts == {
        "number": {"0": 67, "1": 67, "2": 66}, "maybe": {"yes": 100}, "flag": {"true": 200},
    }  # fmt: skip


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_the_delimiter_is_found(store: Store, delimiter: str) -> None:
    found = inspect_file(store("data.csv", CSV.replace(",", delimiter)))
    assert columns(found) == {"text": "text", "label": "integer"}
    assert found.read is not None
    assert found.read.delimiter == delimiter


def test_json_by_lines_and_as_a_list(store: Store) -> None:
    rows = [{"text": f"row {at}", "label": at % 2, "tags": ["a", "b"][: at % 3], "deep": {"x": 1}} for at in range(9)]
    lines = "\n".join([json.dumps(rows[0]), "nonsense", "", *map(json.dumps, rows[1:]), "[1]"])
    found = inspect_file(store("data.jsonl", lines))
    assert (found.rows, columns(found)) == (9, {"text": "text", "label": "integer", "tags": "list"})
    assert found.label_counts == {"label": {"0": 5, "1": 4}, "tags": {"a": 6, "b": 3}}
    assert [(line.line, line.text) for line in found.bad_lines] == [(2, "nonsense"), (12, "[1]")]
    assert found.note == "columns that no job reads: 'deep'"
    found = inspect_file(store("data.json", json.dumps(rows)))
    assert (found.rows, found.bad_rows, columns(found)["tags"]) == (9, 0, "list")


def test_parquet(store: Store, tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": [f"row {at}" for at in range(100)], "label": [at % 4 for at in range(100)]})
    frame["tags"], frame["deep"] = [["a"]] * 100, [{"x": 1}] * 100
    frame.to_parquet(tmp_path / "made.parquet")
    found = inspect_file(store("data.parquet", (tmp_path / "made.parquet").read_bytes()))
    assert (found.rows, columns(found)) == (100, {"text": "text", "label": "integer", "tags": "list"})
    assert found.label_counts == {"label": dict.fromkeys("0123", 25), "tags": {"a": 100}}
    assert found.note == "columns that no job reads: 'deep'"


def test_texts_and_sentences(store: Store) -> None:
    found = inspect_file(store("data.txt", "one\n\ntwo\n"))
    assert (found.format, found.rows, found.columns[0].examples) == ("txt", 2, ["one", "two"])
    found = inspect_file(store("data.conll", "EU B-ORG\nrejects O\n\nGerman X\n\nPeter B-PER\n\nof I-ORG\n"))
    assert (found.rows, found.bad_rows) == (2, 2)
    assert found.label_counts == {"tags": {"B-ORG": 1, "O": 1, "B-PER": 1}}
    assert [(line.line, line.text) for line in found.bad_lines] == [(4, "German"), (8, "of")]
    assert "is no tag of IOB2" in found.bad_lines[0].reason


def test_what_lies_elsewhere_is_told_alike(store: Store) -> None:
    stored = store("reviews.csv", CSV)
    assert stored.path is not None
    assert inspect_file(kept(stored.path, in_place=False)) == inspect_file(stored)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_byte_order_mark_is_believed(store: Store, encoding: str) -> None:
    found = inspect_file(store("data.csv", "text,label\nthé,1\ncafé,0\nbad\n".encode(encoding)))
    assert (found.rows, found.columns[0].examples, found.note) == (2, ["thé", "café"], None)
    assert [(line.line, line.text) for line in found.bad_lines] == [(4, "bad")]


def test_a_file_that_a_job_has_to_be_told_more_of_is_shown_as_far_as_it_goes(store: Store) -> None:
    found = inspect_file(store("data.csv", "text,label\nthé,1\ncafé,0\n".encode("cp1252")))
    assert (found.rows, found.columns[0].examples) == (2, ["thé", "café"])
    assert 'say task.read.encoding "cp1252"' in (found.note or "")
    unclear = inspect_file(store("data.csv", 'text,label\na "quoted" word,1\n"a ""b"" c",0\n'))
    assert (unclear.rows, unclear.complete, unclear.columns) == (None, False, [])
    assert "Say task.read.quote" in (unclear.note or "")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("data.csv", "", "data.csv:1: the file is empty"),
        ("data.csv", "text,label\n", "data.csv:1: the file has no rows"),
        ("data.csv", "text,label\n1,2,3\n", "no row that can be read: line 2, the row has 3 fields"),
        ("data.jsonl", "nonsense\n", "no column holds texts or numbers"),
        ("data.json", "[]", "no column holds texts or numbers"),
        ("data.parquet", "PAR1 nonsense", "not Parquet"),
        ("data.txt", "\n\n", "data.txt:1: the file has no rows"),
        ("data.txt", b"one\n\xff\n", "data.txt:2: not UTF-8"),
        ("data.conll", "a\nb\n", "no sentence that can be read: line 1, the line has 1 column"),
        ("data.xlsx", "PK", "'data.xlsx' is not a file of a known kind: .csv"),
        ("data.csv.gz", "x", "Unpack what is compressed"),
    ],
)  # fmt: skip
def test_what_no_job_could_use_is_refused(store: Store, name: str, content: str | bytes, words: str) -> None:
    with pytest.raises(LayercutError, match=words) as caught:
        inspect_file(store(name, content))
    assert (caught.value.code, caught.value.param) == ("dataset_invalid", None)


def test_of_several_files_the_training_file_comes_first(store: Store) -> None:
    files = [store(name, CSV) for name in ("dev.csv", "train.csv", "a.csv")]
    found = inspect_dataset(files)
    assert (found.file, [other.file for other in found.others]) == ("train.csv", ["a.csv", "dev.csv"])
    assert inspect_dataset([files[0]]).file == "dev.csv"
    with pytest.raises(LayercutError, match=r"e\.csv"):
        inspect_dataset([files[0], store("e.csv", "")])


@pytest.fixture
def small_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (beginnings, datasets):
        monkeypatch.setattr(module, "LOOK_BYTES", 20_000)


@pytest.mark.usefixtures("small_looks")
def test_of_a_large_file_the_beginning_is_looked_at(store: Store) -> None:
    rows = "".join(f'"a text, of two\nlines ""{at % 7}""",{at % 2}\n' for at in range(5000))
    found = inspect_file(store("data.csv", "text,label\n" + rows))
    assert (found.complete, found.bad_rows) == (False, 0), "the row that was cut is no bad one"
    assert found.rows is not None
    assert abs(found.rows - 5000) < 100
    assert set(found.label_counts["label"]) == {"0", "1"}
    lines = "".join(json.dumps({"text": "x" * (at % 50), "label": at % 2}) + "\n" for at in range(5000))
    for name, content in (
        ("data.jsonl", lines),
        ("data.json", f"[{','.join(lines.splitlines())}]"),
        ("data.csv", ("text,label\n" + "thé,1\n" * 5000).encode("utf-16")),
        ("data.txt", "some words\n" * 5000),
        ("data.conll", "word O\n\n" * 5000),
    ):
        found = inspect_file(store(name, content))
        assert (found.complete, found.bad_rows) == (False, 0), name
        assert found.rows is not None
        assert abs(found.rows - 5000) < 300, name


@pytest.mark.usefixtures("small_looks")
def test_of_a_large_parquet_the_footer_is_looked_at(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": [f"row {at}" for at in range(9000)], "label": [None, *range(8999)], "share": 0.5})
    frame["tags"] = [["a"]] * 9000
    frame.to_parquet(tmp_path / "data.parquet")
    asked: list[tuple[int, int]] = []
    stored = kept(tmp_path / "data.parquet", in_place=False)

    def read(start: int, end: int) -> Iterator[bytes]:
        asked.append((start, end))
        yield from stored.read(start, end)

    found = inspect_file(StoredData(stored.name, stored.size, read))
    assert (found.rows, found.complete, found.label_counts) == (9000, False, {})
    kinds = {"text": "text", "label": "number", "share": "number", "tags": "list"}
    assert columns(found) == kinds
    assert found.columns[1].nulls == 1
    assert sum(end - start for start, end in asked) < 10_000 < stored.size
