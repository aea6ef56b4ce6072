"""Multi-label: every way to write a row's labels, and every way to be wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.sources.own_files import load, refused, write

ROWS: list[tuple[str, list[str]]] = [
    ("one", ["red", "blue"]), ("two", []), ("three", ["green"]), ("four", ["blue"]), ("five", ["red", "green", "blue"]),
]  # fmt: skip
NAMES = ("blue", "green", "red")


def spec(path: Path, **more: Any) -> dict[str, Any]:
    column = {} if "label_columns" in more else {"label_column": "colours"}
    return {"dataset": str(path), "text_columns": ["text"], "kind": "multi-label", **column, **more}


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def as_jsonl(folder: Path) -> Path:
    return write(folder, "a.jsonl", lines(*({"text": text, "colours": labels} for text, labels in ROWS)))


def as_json(folder: Path) -> Path:
    return write(folder, "a.json", json.dumps([{"text": text, "colours": labels} for text, labels in ROWS]))


def as_csv(folder: Path) -> Path:
    rows = (f'{text},"{", ".join(labels)}"\n' if labels else f"{text},\n" for text, labels in ROWS)
    return write(folder, "a.csv", "text,colours\n" + "".join(rows))


def as_lists_in_tsv(folder: Path) -> Path:
    return write(folder, "a.tsv", "text\tcolours\n" + "".join(f"{text}\t{json.dumps(ls)}\n" for text, ls in ROWS))


def as_parquet(folder: Path) -> Path:
    table = pa.table({"text": [text for text, _ in ROWS], "colours": [labels for _, labels in ROWS]})
    pq.write_table(table, folder / "a.parquet")
    return folder / "a.parquet"


def as_cells_of_json(folder: Path) -> Path:
    return write(folder, "b.jsonl", lines(*({"text": text, "colours": ",".join(labels)} for text, labels in ROWS)))


@pytest.mark.parametrize("make", [as_jsonl, as_json, as_csv, as_lists_in_tsv, as_parquet, as_cells_of_json])
def test_every_way_to_write_a_list(tmp_path: Path, make: Any) -> None:
    dev = write(tmp_path, "dev.jsonl", lines({"text": "x", "colours": ["Red "]}, {"text": "y", "colours": []}))
    data = load(spec(make(tmp_path), dev=str(dev)), tmp_path)
    assert (data.kind, data.label_names, data.positive) == ("multi-label", NAMES, None)
    assert list(data.train.texts) == [(text,) for text, _ in ROWS]
    assert list(data.train.labels) == [(0, 2), (), (1,), (0,), (0, 1, 2)]
    assert list(data.dev["dev"].labels) == [(2,), ()]
    said = " ".join(data.warnings)
    assert "1 of the 5 rows of" in said
    assert "1 of the 2 rows of" in said


FLAGS = "text,red,blue,Spam\na,1,0,0\nb,TRUE,false,0.0\nc,0,,1\nd,0,0,0\n"


def test_a_column_of_0_and_1_for_each_label(tmp_path: Path) -> None:
    path, dev = write(tmp_path, "a.csv", FLAGS), write(tmp_path, "dev.jsonl", lines(
        {"text": "x", "red": True, "blue": 1, "Spam": 0.0}, {"text": "y", "red": "0", "blue": False, "Spam": 1}
    ))  # fmt: skip
    data = load(spec(path, label_columns=["red", "blue", "Spam"], dev=str(dev)), tmp_path)
    assert data.label_names == ("red", "blue", "Spam")
    assert list(data.train.labels) == [(0,), (0,), (2,), ()]
    assert list(data.dev["dev"].labels) == [(0, 1), (2,)]
    assert any("no row has the label 'blue'" in warning for warning in data.warnings)
    ordered = load(spec(path, label_columns=["red", "blue", "Spam"], labels=["spam", "blue", "red"]), tmp_path)
    assert ordered.label_names == ("spam", "blue", "red")
    assert {labels for rows in (ordered.train, ordered.dev["dev"]) for labels in rows.labels} == {(2,), (0,), ()}


def test_hundreds_of_label_columns(tmp_path: Path) -> None:
    names = [f"l{at}" for at in range(400)]
    header, row = ",".join(["text", *names]), ",".join(["0", "1"] * 200)
    path = write(tmp_path, "a.csv", f"{header}\na,{row}\nb,{row[::-1]}\nc,{row}\nd,{row}\n")
    data = load(spec(path, label_columns=names), tmp_path)
    assert {len(labels) for labels in data.train.labels} == {200}


def test_labels_are_compared_as_those_of_classes(tmp_path: Path) -> None:
    rows = [["1", 2], [2.0, "10", "2"], [], ["10"]]
    path = write(tmp_path, "a.jsonl", lines(*({"text": str(at), "colours": row} for at, row in enumerate(rows))))
    data = load(spec(path), tmp_path, seed=3)
    assert data.label_names == ("1", "2", "10")
    both = [*zip(data.train.texts, data.train.labels, strict=True)]
    both += zip(data.dev["dev"].texts, data.dev["dev"].labels, strict=True)
    assert sorted(both) == [(("0",), (0, 1)), (("1",), (1, 2)), (("2",), ()), (("3",), (2,))]
    spelt = write(tmp_path, "b.csv", 'text,colours\na,Red\nb,"red,RED"\nc,blue\nd,red\n')
    found = load(spec(spelt), tmp_path)
    assert found.label_names == ("blue", "red")
    assert any("'red' is written in 3 ways" in warning for warning in found.warnings)


def test_another_separator_and_an_order_of_ones_own(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,colours\na,x|y\nb,z\nc,\nd,y\n")
    data = load(spec(path, label_separator="|", labels=["z", "y", "x", "w"]), tmp_path)
    assert data.label_names == ("z", "y", "x", "w")
    assert any("no row has the label 'w'" in warning for warning in data.warnings)


def test_a_tenth_is_kept_aside_by_the_seed(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,colours\n" + "".join(f"t{at},{'ab'[at % 2]}\n" for at in range(40)))
    first, again, other = (load(spec(path), tmp_path, seed).dev["dev"] for seed in (1, 1, 2))
    assert (len(first), first.digest()) == (4, again.digest())
    assert other.digest() != first.digest()


@pytest.mark.parametrize(
    ("content", "more", "text"),
    [
        ('{"text": "a", "colours": ["x"]}\n{"text": "b", "colours": null}\n', {}, ":2: label 'colours' is missing"),
        ('{"text": "a", "colours": ["x"]}\n{"text": "b"}\n', {}, ":2: label 'colours' is missing"),
        ('{"text": "a", "colours": ["x"]}\n\n{"text": "b", "colours": {"x": 1}}\n', {}, ":3: label 'colours' is mis"),
        ('{"text": "a", "colours": ["x", null]}\n', {}, r":1: label 'colours' has None in it"),
        ('{"text": "a", "colours": [["x"]]}\n', {}, r":1: label 'colours' has \['x'\] in it"),
        ('{"text": "a", "colours": ["x", " "]}\n', {}, ":1: label 'colours' has ' ' in it, which is no label"),
        ('{"text": "a", "colours": ["x\\u0000"]}\n', {}, "which is no label"),
        ('{"text": "a", "colours": "[\'x\', \'y\']"}\n', {}, ":1: label 'colours' is no list as JSON writes one"),
        ('{"text": "a", "colours": []}\n{"text": "b", "colours": []}\n', {}, "no row has a label: there is nothing"),
        ('{"text": "a", "colours": ["x"]}\n{"text": "b", "colours": ["x"]}\n', {}, "every row has the same labels"),
        ('{"text": "", "colours": ["x"]}\n{"text": "b", "colours": []}\n', {}, ":1: 'text' is empty"),
        ('{"text": "a", "colours": ["x"]}\n{"text": "b", "colours": ["w"]}\n', {"labels": ["x", "y"]},
         ":2: label 'w' is none of task.labels, which are: x, y"),
        ('{"text": "a", "colours": ["x"]}\n{"text": "b", "colours": []}\n', {}, "2 rows are too few to keep some"),
    ],
)  # fmt: skip
def test_wrong_labels_are_refused_with_their_line(tmp_path: Path, content: str, more: Any, text: str) -> None:
    refused(spec(write(tmp_path, "a.jsonl", content), **more), tmp_path, text)


@pytest.mark.parametrize(
    ("content", "more", "text"),
    [
        (FLAGS.replace("d,0", "d,2"), {}, ":5: label 'red' is neither 0 nor 1"),
        (FLAGS, {"label_columns": ["red", "Red"]}, "the label column 'Red' is given twice|no column 'Red'"),
        (FLAGS, {"labels": ["red", "blue"]}, "'spam' is not in both task.labels and task.label_columns"),
        (FLAGS, {"label_columns": ["red", "purple"]}, "no column 'purple'"),
    ],
)
def test_wrong_flags_are_refused(tmp_path: Path, content: str, more: Any, text: str) -> None:
    asked = {"label_columns": ["red", "blue", "Spam"], **more}
    refused(spec(write(tmp_path, "a.csv", content), **asked), tmp_path, text)


def test_a_dev_file_with_another_label_is_refused_with_its_line(tmp_path: Path) -> None:
    dev = write(tmp_path, "dev.jsonl", lines({"text": "x", "colours": []}, {"text": "y", "colours": ["pink"]}))
    asked = spec(as_csv(tmp_path), dev=str(dev))
    refused(asked, tmp_path, ":2: label 'pink' is not in the training file, whose labels are: blue", "/task/dev")
    kept = load({**asked, "dev_read": {"bad_rows": "skip"}}, tmp_path)
    assert kept.dev["dev"].skipped == {"no label that is known": 1}


def test_bad_rows_are_left_out_where_that_is_asked(tmp_path: Path) -> None:
    cells = {"a": ["x"], "b": None, " ": [], "c": [[]], "d": [], "e": ["y"]}
    path = write(tmp_path, "a.jsonl", lines(*({"text": text, "colours": cell} for text, cell in cells.items())))
    data = load(spec(path, dev=str(as_jsonl_of(tmp_path)), read={"bad_rows": "skip"}), tmp_path)
    assert list(data.train.labels) == [(0,), (), (1,)]
    assert data.train.skipped == {"no labels": 1, "no text": 1, "no label that is known": 1}


def as_jsonl_of(folder: Path) -> Path:
    return write(folder, "dev.jsonl", lines({"text": "a dev row", "colours": ["x"]}))


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("[" * 100_000, "is no list as JSON writes one|not JSON|Malformed JSON"),
        ("[" * 2000 + "]" * 2000, "is no list as JSON|which is no label|not JSON"),
        (json.dumps(["x"] * 300_000), "is a list of 1499999 characters|is a list of [0-9]+ characters"),
        (json.dumps([f"label {at}" for at in range(3000)]), "has 3000 different labels, more than 1000"),
        (json.dumps([f"label {at}" for at in range(30_000)]), "has more than 20000 different labels"),
        (f"[{'9' * 6000}]", "is no list as JSON writes one|which is no label"),
        ('["\\ud800"]', "which is no label|surrogate|not JSON"),
        (json.dumps(["x" * 501]), "which is no label"),
    ],
)
def test_lists_that_are_an_attack(tmp_path: Path, cell: str, text: str) -> None:
    for name, content in (("a.jsonl", f'{{"text": "a", "colours": {cell}}}\n{{"text": "b", "colours": []}}\n'),
                          ("a.tsv", f"text\tcolours\na\t{cell}\nb\t\n")):  # fmt: skip
        refused(spec(write(tmp_path, name, content)), tmp_path, text)


def test_a_parquet_list_of_millions_of_numbers_is_refused(tmp_path: Path) -> None:
    """Run-length encoding writes a list of one number again and again in a few bytes."""
    values = pa.array(np.full(10_000_000, 7))
    table = pa.table(
        {"text": ["a"], "colours": pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)}
    )
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd")
    assert (tmp_path / "a.parquet").stat().st_size < 100_000
    refused(spec(tmp_path / "a.parquet"), tmp_path, "bytes of text; at most|takes more than|is a list of")


def test_nested_parquet_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", "b"], "colours": [[["x"]], [[]]]}), tmp_path / "a.parquet")
    refused(spec(tmp_path / "a.parquet"), tmp_path, re.escape("holds neither texts nor numbers but VARCHAR[][]"))
    pq.write_table(pa.table({"text": [["a"], ["b"]], "colours": [["x"], []]}), tmp_path / "a.parquet")
    refused(spec(tmp_path / "a.parquet"), tmp_path, re.escape("'text' holds neither texts nor numbers but VARCHAR[]"))
