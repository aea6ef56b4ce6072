"""Text without labels: of an embedding, with pairs to compare on, and beside labelled rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api_schemas.errors import LayercutError
from api_schemas.requests import JobRequest
from api_schemas.task_spec import TaskSpec
from api_schemas.text_spec import TextSpec
from sources.settings import SourceSettings
from sources.tasks import TaskData, load_task, with_data
from tests.sources.own_files import load, refused, write

TEXTS = ["one", "two, three", "four"]


def spec(path: Path, **more: Any) -> dict[str, Any]:
    return {"dataset": str(path), "kind": "embedding", **more}


def as_csv(folder: Path, column: str = "text") -> Path:
    return write(folder, "a.csv", f"n,{column}\n" + "".join(f'1,"{text}"\n' for text in TEXTS))


def as_txt(folder: Path) -> Path:
    return write(folder, "a.txt", "\ufeff" + "\r\n\n".join(TEXTS))


def as_jsonl(folder: Path) -> Path:
    return write(folder, "a.jsonl", "".join(json.dumps({"text": text}) + "\n" for text in TEXTS))


def as_parquet(folder: Path) -> Path:
    pq.write_table(pa.table({"text": TEXTS}), folder / "a.parquet")
    return folder / "a.parquet"


@pytest.mark.parametrize("make", [as_csv, as_txt, as_jsonl, as_parquet])
def test_every_kind_of_file(tmp_path: Path, make: Any) -> None:
    dev = write(tmp_path, "dev.txt", "five\nsix\none\n")
    data = load(spec(make(tmp_path), dev=str(dev)), tmp_path)
    assert (data.kind, data.label_names, data.metrics[0]) == ("embedding", (), "cosine")
    assert list(data.train.texts) == [(text,) for text in TEXTS]
    assert list(data.train.labels) == [0, 0, 0]
    assert list(data.dev["dev"].texts) == [("five",), ("six",), ("one",)]
    assert any("1 of the 3 dev rows have texts that are in the training rows" in warning for warning in data.warnings)


def test_a_folder_and_another_column(tmp_path: Path) -> None:
    write(tmp_path, "data/train.txt", "a\nb\n")
    write(tmp_path, "data/dev.txt", "c\nd\n")
    assert len(load(spec(tmp_path / "data"), tmp_path).dev["dev"]) == 2
    path = as_csv(tmp_path, "body")
    refused(spec(path), tmp_path, "no column 'text'")
    assert len(load(spec(path, text_columns=["body"]), tmp_path).train) == 2


def test_a_tenth_is_kept_aside_and_none_of_it_is_learnt(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "".join(f"text {at % 150}\n" for at in range(300)))
    first, again, other = (load(spec(path), tmp_path, seed) for seed in (1, 1, 2))
    train, dev = list(first.train.texts), list(first.dev["dev"].texts)
    assert not {*train} & {*dev}
    assert len({*dev}) == len(dev)
    assert len({*train} | {*dev}) == 150
    left = 300 - len(train) - len(dev)
    assert any(f"{left} rows of" in warning and "kept aside" in warning for warning in first.warnings)
    assert first.dev["dev"].digest() == again.dev["dev"].digest() != other.dev["dev"].digest()


def test_no_more_than_2000_are_kept_aside(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "".join(f"text {at}\n" for at in range(30_000)))
    data = load(spec(path, max_train_rows=500), tmp_path)
    assert (len(data.train), len(data.dev["dev"])) == (500, 2000)
    assert not data.warnings


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.txt", "\n \n", ":1: the file has no texts: there is nothing to learn from"),
        ("a.txt", "one\n", "the file has one text alone: there is nothing to learn from"),
        ("a.txt", "one\n one \none", "has 3 texts, and all of them are the same: there is nothing to learn from"),
        ("a.txt", "one\ntwo\n", "2 rows are too few to keep some aside"),
        ("a.txt", "one\ntwo\0\n", ":2: byte 0 in the line"),
        ("a.csv", "text,n\none,1\n", "one text alone"),
        ("a.csv", "text,n\none,1\none,2\n", "2 texts, and all of them are the same"),
        ("a.csv", "text,n\none,1\n ,2\n", ":3: 'text' is empty, or no text"),
        ("a.jsonl", '{"text": "a"}\n{"text": ["b"]}\n', ":2: 'text' is empty, or no text"),
        ("a.csv", "text,n\n", ":1: the file has no rows"),
        ("a.conll", "a O\n", "not a file of a known kind: .txt"),
    ],
)
def test_what_nothing_can_be_learnt_from_is_refused(tmp_path: Path, name: str, content: str, text: str) -> None:
    if name.endswith(".conll"):
        with pytest.raises(LayercutError, match="a CoNLL file is for token-classification"):
            TaskSpec.model_validate(spec(tmp_path / name))
        return
    refused(spec(write(tmp_path, name, content)), tmp_path, text)


def test_a_dev_file_that_measures_nothing_is_refused(tmp_path: Path) -> None:
    dev = write(tmp_path, "dev.txt", "one\n")
    refused(spec(as_txt(tmp_path), dev=str(dev)), tmp_path, "one text alone", "/task/dev")


def test_lines_have_no_columns(tmp_path: Path) -> None:
    refused(spec(as_txt(tmp_path), text_columns=["text"]), tmp_path, "a TXT file has no columns", "/task/text_columns")


def test_bad_rows_are_left_out_where_that_is_asked(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,n\none,1\n,2\ntwo,3\n")
    data = load(spec(path, read={"bad_rows": "skip"}, dev=str(as_txt(tmp_path))), tmp_path)
    assert (len(data.train), data.train.skipped) == (2, {"no text": 1})


PAIRS = "sentence1,sentence2,score\nalike,same,5\none,else,0.5\n"


def test_pairs_of_a_file_and_where_they_are_in_the_text(tmp_path: Path) -> None:
    pairs = write(tmp_path, "pairs.csv", PAIRS)
    data = load(spec(as_txt(tmp_path), dev=str(as_csv(tmp_path)), pairs={"dataset": str(pairs)}), tmp_path)
    assert data.pairs is not None
    assert (list(data.pairs.texts), list(data.pairs.labels)) == ([("alike", "same"), ("one", "else")], [5.0, 0.5])
    assert data.metrics[0] == "spearman"
    assert "1 of the 2 pairs have texts that are in the training text too" in data.warnings


def test_pairs_of_glue_are_the_dev_split(tmp_path: Path) -> None:
    rows = "index\tsentence1\tsentence2\tscore\n0\ta\tb\t1.5\n1\tc\td\t5\n"
    glue, text = write(tmp_path, "glue/STS-B/dev.tsv", rows).parents[1], as_txt(tmp_path)
    settings = SourceSettings(data_roots=[tmp_path], glue_dir=glue)
    asked = TaskSpec.model_validate(spec(text, pairs="stsb"))
    data = load_task(asked, settings, 1)
    assert data.pairs is not None
    assert (list(data.pairs.texts), list(data.pairs.labels)) == ([("a", "b"), ("c", "d")], [1.5, 5.0])


@pytest.mark.parametrize(
    ("content", "more", "text"),
    [
        ("sentence1,sentence2,score\na,b,1\n", {}, "every row has the label 1.0: there is nothing to learn"),
        ("sentence1,sentence2,score\na,b,1\nc,d,1\n", {}, "every row has the label 1.0: there is nothing to learn"),
        ("sentence1,sentence2,score\na,b,x\nc,d,1\n", {}, ":2: label 'score' is not a number but 'x'"),
        ("sentence1,sentence2,score\na,,2\nc,d,1\n", {}, ":2: 'sentence2' is empty"),
        (PAIRS, {"label_column": "alike"}, "no column 'alike'"),
        ("sentence1,sentence2,score\n", {}, "the file has no rows"),
    ],
)
def test_wrong_pairs_are_refused(tmp_path: Path, content: str, more: Any, text: str) -> None:
    pairs = {"dataset": str(write(tmp_path, "pairs.csv", content)), **more}
    refused(spec(as_txt(tmp_path), pairs=pairs), tmp_path, text, "/task/pairs/dataset")


LABELLED = "text,label\na,x\nb,y\nc,x\nd,y\n"


def labelled(folder: Path, **more: Any) -> dict[str, Any]:
    dev = write(folder, "dev.csv", "text,label\none,x\nz,y\n")
    path = write(folder, "labelled.csv", LABELLED)
    return {"dataset": str(path), "text_columns": ["text"], "label_column": "label", "dev": str(dev), **more}


def with_text(task: dict[str, Any] | str, text: dict[str, Any], root: Path, **more: Any) -> tuple[JobRequest, TaskData]:
    """As a job's runner has it, with what was pinned at POST."""
    settings = SourceSettings(data_roots=[root], **more)
    request = JobRequest.model_validate({"model": "x", "task": task, "recovery": {"text": text}})
    pinned = with_data(request, settings)
    return pinned, load_task(pinned.task, settings, 7, pinned.recovery.text)


@pytest.mark.parametrize("make", [as_csv, as_txt, as_jsonl, as_parquet])
def test_text_beside_labelled_rows(tmp_path: Path, make: Any) -> None:
    path = make(tmp_path)
    pinned, data = with_text(labelled(tmp_path), {"dataset": str(path)}, tmp_path)
    assert data.text is not None
    assert (list(data.text.texts), list(data.text.labels)) == ([(text,) for text in TEXTS], [0, 0, 0])
    assert "1 of the 3 unlabelled texts are dev rows: the score may be too good" in data.warnings
    assert pinned.recovery.text is not None
    assert pinned.recovery.text.columns == ([] if path.suffix == ".txt" else ["text"])
    assert pinned.recovery.text.read.encoding in ("utf-8", None)
    without = load_task(TaskSpec.model_validate(labelled(tmp_path)), SourceSettings(data_roots=[tmp_path]), 7)
    assert (without.train.digest(), without.text) == (data.train.digest(), None)


def test_a_sample_of_it_by_the_seed(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "".join(f"text {at}\n" for at in range(100)))
    _, data = with_text(labelled(tmp_path), {"dataset": str(path), "rows": 10}, tmp_path)
    assert data.text is not None
    assert len(data.text) == 10
    _, again = with_text(labelled(tmp_path), {"dataset": str(path), "rows": 10}, tmp_path)
    assert again.text is not None
    assert again.text.digest() == data.text.digest()
    with pytest.raises(LayercutError, match="LAYERCUT_MAX_ROWS") as caught:
        with_text(labelled(tmp_path), {"dataset": str(path)}, tmp_path, max_rows=50)
    assert (caught.value.code, caught.value.param) == ("ceiling_passed", "/recovery/text/rows")


def test_labelled_and_unlabelled_rows_are_counted_together(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "".join(f"text {at}\n" for at in range(100)))
    with_text(labelled(tmp_path), {"dataset": str(path), "rows": 10}, tmp_path, max_rows=14)
    with pytest.raises(
        LayercutError, match="has 14 rows to train on, more than the 13 that LAYERCUT_MAX_ROWS"
    ) as caught:
        with_text(labelled(tmp_path), {"dataset": str(path), "rows": 10}, tmp_path, max_rows=13)
    assert (caught.value.code, caught.value.param) == ("ceiling_passed", "/recovery/text/rows")


@pytest.mark.parametrize("names", [("#1 String", "#2 String"), ("sentence1", "sentence2")])
def test_text_for_a_task_of_glue_by_either_of_its_names(tmp_path: Path, names: tuple[str, str]) -> None:
    rows = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t1\t2\ta\tb\n0\t3\t4\tc\td\n"
    for part in ("train", "dev"):
        write(tmp_path, f"glue/MRPC/{part}.tsv", rows)
    path = write(tmp_path, "more.csv", f"{names[0]},{names[1]}\na,b\ne,f\n")
    pinned, data = with_text("mrpc", {"dataset": str(path)}, tmp_path, glue_dir=tmp_path / "glue")
    assert data.text is not None
    assert list(data.text.texts) == [("a", "b"), ("e", "f")]
    assert pinned.recovery.text is not None
    assert pinned.recovery.text.columns == list(names)


def test_text_of_words_for_tags(tmp_path: Path) -> None:
    train = write(tmp_path, "a.conll", "a B-X\nb O\n\nc O\n")
    dev = write(tmp_path, "d.conll", "one O\n\nfive O\nsix O\n")
    task = {"dataset": str(train), "dev": str(dev), "kind": "token-classification"}
    plain = write(tmp_path, "plain.txt", "five  six\n[a] bracket\n\nseven\n")
    _, data = with_text(task, {"dataset": str(plain)}, tmp_path)
    assert data.text is not None
    assert list(data.text.texts) == [("five", "six"), ("[a]", "bracket"), ("seven",)]
    assert "1 of the 3 unlabelled texts are dev rows: the score may be too good" in data.warnings
    lists = write(tmp_path, "b.jsonl", '{"text": ["New York", "x"]}\n{"text": "[a] b"}\n{"text": ["c"]}\n')
    _, data = with_text(task, {"dataset": str(lists)}, tmp_path)
    assert data.text is not None
    assert list(data.text.texts) == [("New York", "x"), ("[a]", "b"), ("c",)]


@pytest.mark.parametrize(
    ("name", "content", "columns", "text"),
    [
        ("a.txt", "\n", [], ":1: the file has no texts: there is nothing to learn from"),
        ("a.txt", "one\n", [], "one text alone"),
        ("a.csv", "text\none\none\n", [], "all of them are the same"),
        ("a.csv", "body\none\ntwo\n", [], "no column 'text'"),
        ("a.txt", "one\ntwo\n", ["text"], "a TXT file has no columns"),
        ("a.xml", "one\ntwo\n", [], "not a file of a known kind: .txt"),
    ],
)
def test_text_of_no_use_is_refused(tmp_path: Path, name: str, content: str, columns: list[str], text: str) -> None:
    path, task, settings = write(tmp_path, name, content), labelled(tmp_path), SourceSettings(data_roots=[tmp_path])
    asked = TextSpec.model_validate({"dataset": str(path), "columns": columns})
    request = JobRequest.model_validate({"model": "x", "task": task, "recovery": {"text": asked.model_dump()}})
    with pytest.raises(LayercutError, match=text) as at_post:
        with_data(request, settings)
    with pytest.raises(LayercutError, match=text) as in_runner:
        load_task(TaskSpec.model_validate(task), settings, 1, asked)
    assert at_post.value.message == in_runner.value.message
    assert at_post.value.param == in_runner.value.param == f"/recovery/text/{'columns' if columns else 'dataset'}"


def test_lines_are_no_pairs_of_texts(tmp_path: Path) -> None:
    path = as_txt(tmp_path)
    task = {**labelled(tmp_path), "text_columns": ["text", "label"]}
    with pytest.raises(LayercutError, match="a line of TXT is one text, and the task reads 2 texts a row"):
        with_text(task, {"dataset": str(path)}, tmp_path)
