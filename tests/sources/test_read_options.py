"""How a file is read: guessed where that is certain, said where it is not, and bad rows skipped where that is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from api_schemas.errors import LayercutError
from api_schemas.pruning import CalibrationSpec
from api_schemas.task_spec import TaskSpec
from sources.settings import SourceSettings
from sources.tasks import TaskData, check_dataset, load_task
from sources.texts import check_texts, read_texts

ROWS = [('good, and "fine"', "pos"), ("bad", "neg"), ("café", "pos"), ("dull", "neg")] * 3


def decided(path: Path, **more: Any) -> TaskSpec:
    spec = TaskSpec(**{"dataset": str(path), "text_columns": ["text"], "label_column": "label", **more})
    return check_dataset(spec, SourceSettings(data_roots=[path.parent]))


def load(path: Path, **more: Any) -> TaskData:
    return load_task(decided(path, **more), SourceSettings(data_roots=[path.parent]), 1)


def learnt(path: Path, **more: Any) -> set[tuple[str, str]]:
    data = load(path, **more)
    parts = (data.train, *data.dev.values())
    return {
        (*text, data.label_names[int(id)]) for part in parts for text, id in zip(part.texts, part.labels, strict=True)
    }


def put(folder: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def quoted(delimiter: str, end: str = "\n") -> str:
    rows = ['"' + text.replace('"', '""') + f'"{delimiter}{label}' for text, label in ROWS]
    return end.join([f"text{delimiter}label", *rows]) + end


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_what_is_certain_is_guessed_and_shown(tmp_path: Path, delimiter: str, encoding: str, end: str) -> None:
    path = put(tmp_path, "a.csv", quoted(delimiter, end), encoding)
    assert learnt(path) == set(ROWS)
    read = decided(path).read
    assert (read.delimiter, read.quote, read.escape) == (delimiter, '"', "doubled")
    assert read.encoding == encoding.removesuffix("-sig")


def test_an_encoding_that_nothing_tells_is_asked_for_and_taken(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", quoted(","), "cp1252")
    with pytest.raises(LayercutError, match=r'a\.csv:4: not UTF-8; task\.read\.encoding may be "cp1252"'):
        learnt(path)
    assert learnt(path, read={"encoding": "cp1252"}) == set(ROWS)
    with pytest.raises(LayercutError, match="there is no encoding 'cp9999'"):
        learnt(path, read={"encoding": "cp9999"})


def test_quotes_after_a_backslash(tmp_path: Path) -> None:
    rows = [f'"{text}",{label}' for text, label in [('so \\"good\\", said he', "pos"), ("bad", "neg")] * 3]
    path = put(tmp_path, "a.csv", "text,label\n" + "\n".join(rows))
    assert learnt(path) == {('so "good", said he', "pos"), ("bad", "neg")}
    assert decided(path).read.escape == "backslash"


def test_what_is_said_is_taken(tmp_path: Path) -> None:
    text = "text,label\n" + '"Great" he said,pos\n"Great",neg\n' * 4
    path = put(tmp_path, "a.csv", text)
    with pytest.raises(LayercutError, match=r'a\.csv:2: some fields stand in ".*task\.read\.quote'):
        learnt(path)
    assert learnt(path, read={"quote": "none"}) == {('"Great" he said', "pos"), ('"Great"', "neg")}


def test_the_dev_file_may_be_written_otherwise(tmp_path: Path) -> None:
    train, dev = put(tmp_path, "a.csv", quoted(",")), put(tmp_path, "dev.csv", quoted(";"), "cp1252")
    task = decided(train, dev=str(dev), dev_read={"encoding": "cp1252"})
    assert (task.read.delimiter, task.dev_read and task.dev_read.delimiter) == (",", ";")
    assert len(load(train, dev=str(dev), dev_read={"encoding": "cp1252"}).dev["dev"]) == len(ROWS)


BAD = 'text,label\na,pos\nb,neg\nc,d,pos\ne\n,pos\nf,\ng,neg\nh,pos\ni,neg\n"j"j,pos\n'


def test_bad_rows_are_refused_or_skipped_and_counted(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", BAD)
    with pytest.raises(LayercutError, match=r"a\.csv:4: the row has 3 fields, the header has 2.*bad_rows"):
        learnt(path)
    data = load(path, read={"bad_rows": "skip", "quote": '"'})
    assert learnt(path, read={"bad_rows": "skip", "quote": '"'}) == set(
        zip("abghi", ["pos", "neg", "neg", "pos", "neg"], strict=True)
    )
    assert data.train.skipped == {
        "too many fields": 1,
        "too few fields": 1,
        "quotes that do not match": 1,
        "no text": 1,
        "no label that is known": 1,
    }
    assert data.train.dropped == 5
    assert any(warning.startswith("5 rows of") for warning in data.warnings)


def test_bad_lines_of_json_are_skipped_too(tmp_path: Path) -> None:
    good = '{"text": "a", "label": "pos"}\n{"text": "b", "label": "neg"}\n' * 3
    path = put(tmp_path, "a.jsonl", good + 'nonsense\n{"text": "c"}\n{"text": null, "label": "pos"}\n')
    with pytest.raises(LayercutError, match=r"a\.jsonl:7: not JSON"):
        learnt(path)
    data = load(path, read={"bad_rows": "skip"})
    assert (len(data.train) + len(data.dev["dev"]), data.train.dropped) == (6, 3)


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        ("a.json", '[{"text": 5, "label": 1.0}, {"text": "b", "label": false}, {"text": true, "label": "1"}]', 3),
        ("a.jsonl", '{"text": 5, "label": 1}\n{"text": "b", "label": "0.0"}\n{"text": "c", "label": true}\n', 3),
    ],
)
def test_a_number_is_a_text_too(tmp_path: Path, name: str, text: str, rows: int) -> None:
    dev = put(tmp_path, f"dev_{name}", text)
    data = load(put(tmp_path, name, text), dev=str(dev))
    assert len(data.train) == rows
    assert data.train.texts[0] == ("5",)


def test_a_text_as_long_as_a_book(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", f"text,label\n{'x' * 150_000},pos\n" + "b,neg\nc,pos\n" * 4)
    assert ("x" * 150_000, "pos") in learnt(path)


def test_up_to_four_texts_a_row(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", "a,b,c,d,label\n" + "1,2,3,4,x\n5,6,7,8,y\n" * 3)
    data = load(path, text_columns=["d", "a", "c", "b"])
    assert {*data.train.texts, *data.dev["dev"].texts} == {("4", "1", "3", "2"), ("8", "5", "7", "6")}


def test_a_name_with_a_star_is_no_pattern(tmp_path: Path) -> None:
    put(tmp_path, "ab.csv", "text,label\nsecret,pos\nother,neg\n" * 3)
    assert learnt(put(tmp_path, "a[b]*'.csv", quoted(","))) == set(ROWS)


def test_tables_are_taken_to_measure_layers_on(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", quoted(";"), "cp1252")
    settings = SourceSettings(data_roots=[tmp_path])
    spec = CalibrationSpec.model_validate({"dataset": str(path), "read": {"encoding": "cp1252"}})
    assert check_texts(spec, settings, 100).read.delimiter == ";"
    assert {text for (text,) in read_texts(spec, settings, 1).texts} == {text for text, _ in ROWS}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("row", "text"), [("wide,row,pos", "3 fields"), ("narrow", "1 fields"), ('"a"b,pos', "quotes that do not match")]
)
def test_a_bad_row_is_named_by_its_line_and_not_by_its_number(tmp_path: Path, row: str, text: str, end: str) -> None:
    lines = ["text,label", "", f'"a{end}b, c{end}d",pos', "fine,neg", row, "fine,pos", "fine,neg"]
    with pytest.raises(LayercutError, match=rf"a\.csv:7: .*{text}"):
        learnt(put(tmp_path, "a.csv", end.join(lines) + end))
