"""The user's own table: every kind of file, every way to be wrong, and the split that is made where none is given."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from api_schemas.errors import LayercutError
from api_schemas.task_spec import TaskSpec
from sources import tasks
from sources.settings import SourceSettings
from sources.tasks import TaskData, check_dataset, load_task


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def spec(path: Path, **more: Any) -> TaskSpec:
    return TaskSpec(**{"dataset": str(path), "text_columns": ["text"], "label_column": "label", **more})


def load(path: Path, root: Path, seed: int = 1, **more: Any) -> TaskData:
    settings = SourceSettings(data_roots=[root])
    check_dataset(spec(path, **more), settings)
    return load_task(spec(path, **more), settings, seed)


def refused(path: Path, root: Path, text: str, code: str = "dataset_invalid", **more: Any) -> LayercutError:
    """The same error at POST and in the runner."""
    settings = SourceSettings(data_roots=[root])
    with pytest.raises(LayercutError, match=text) as at_post:
        check_dataset(spec(path, **more), settings)
    with pytest.raises(LayercutError, match=text) as in_runner:
        load_task(spec(path, **more), settings, seed=0)
    assert at_post.value.message == in_runner.value.message
    assert at_post.value.code == code
    return at_post.value


CSV = 'text,extra,label\ngood,x,pos\n"so, so\n""fine""",x,neutral\nbad,x,neg\n'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.csv", CSV),
        ("train.CSV", "\ufeff" + CSV.replace("\n", "\r\n").replace("so\r\n", "so\n")),
        ("train.tsv", 'label\ttext\npos\tgood\nneutral\tso, so "fine"\nneg\tbad\n'),
        (
            "train.jsonl",
            '{"text": "good", "label": "pos"}\n\n{"label": "neutral", "text": "so, so\\n\\"fine\\""}\n'
            '{"text": "bad", "label": "neg", "more": [1]}',
        ),
    ],
)
def test_every_kind_of_file(tmp_path: Path, name: str, content: str) -> None:
    train = write(tmp_path, name, content)
    dev = write(tmp_path, "other.csv", "text,label\nnice,pos\n")
    data = load(train, tmp_path, dev=str(dev))
    assert data.label_names == ("neg", "neutral", "pos")
    assert [text.replace("\n", " ") for (text,) in data.train.texts] == ["good", 'so, so "fine"', "bad"]
    assert list(data.train.labels) == [2, 1, 0]
    assert (list(data.dev["dev"].texts), list(data.dev["dev"].labels)) == ([("nice",)], [2])
    assert data.train.sha256 == hashlib.sha256(train.read_bytes()).hexdigest()
    assert (data.metrics, data.kind) == (("accuracy",), "classification")


def test_two_texts_a_row_in_the_order_that_was_asked(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "b,a,label\n1b,1a,x\n2b,2a,y\n3b,3a,x\n4b,4a,y\n")
    data = load(path, tmp_path, text_columns=["a", "b"])
    assert {*data.train.texts, *data.dev["dev"].texts} == {(f"{n}a", f"{n}b") for n in range(1, 5)}


def test_a_folder_of_train_and_dev(tmp_path: Path) -> None:
    folder = write(tmp_path, "set/train.jsonl", '{"text": "a", "label": 1}\n{"text": "b", "label": 2}\n').parent
    write(tmp_path, "set/validation.csv", "text,label\nc,2\n")
    data = load(folder, tmp_path)
    assert list(data.dev["dev"].texts) == [("c",)]
    write(tmp_path, "set/validation.csv", "text,label\nc,3\n")
    refused(folder, tmp_path, r"set/validation\.csv:2: label '3' is not in the training file, whose labels are: 1, 2")
    (folder / "train.jsonl").unlink()
    refused(folder, tmp_path, r"no training file: train\.csv", code="dataset_not_found")


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([10, 9, 2], ("2", "9", "10")),
        (["10", "9", "b"], ("10", "9", "b")),
        ([True, False], ("false", "true")),
        ([1.0, 0, 1], ("0", "1")),
        ([-1, 1], ("-1", "1")),
    ],
)
def test_labels_have_ids_in_an_order_that_people_expect(tmp_path: Path, labels: list[Any], names: tuple[str]) -> None:
    rows = "".join(json.dumps({"text": "x", "label": label}) + "\n" for label in labels * 2)
    assert load(write(tmp_path, "a.jsonl", rows), tmp_path).label_names == names


def test_numbers_for_a_regression(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,label\n" + "".join(f"t{n},{n / 2}\n" for n in range(20)))
    data = load(path, tmp_path, metric="spearman")
    assert (data.kind, data.label_names, data.metrics) == ("regression", (), ("spearman",))
    assert sorted([*data.train.labels, *data.dev["dev"].labels]) == [n / 2 for n in range(20)]
    assert len(data.dev["dev"]) == 2


def test_the_split_is_a_seeded_tenth_of_every_label(tmp_path: Path) -> None:
    rows = [(f"text {n}", "often" if n % 10 else "rare") for n in range(400)]
    path = write(tmp_path, "a.csv", "text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    first, again, other = (load(path, tmp_path, seed) for seed in (1, 1, 2))
    assert Counter(first.dev["dev"].labels) == {0: 36, 1: 4}
    assert sorted([*first.train.texts, *first.dev["dev"].texts]) == sorted((text,) for text, _ in rows)
    assert (first.train.digest(), first.dev["dev"].digest()) == (again.train.digest(), again.dev["dev"].digest())
    assert first.dev["dev"].digest() != other.dev["dev"].digest()
    sampled = load(path, tmp_path, 1, max_train_rows=50)
    assert len(sampled.train) == 50
    assert sampled.dev["dev"].digest() == first.dev["dev"].digest()


def test_a_label_with_one_row_stays_in_train(tmp_path: Path) -> None:
    data = load(write(tmp_path, "a.csv", "text,label\na,x\nb,x\nc,only\n"), tmp_path)
    assert sorted(data.train.labels) == [0, 1]
    assert list(data.dev["dev"].labels) == [1]


BASE = "text,label\ngood,pos\nbad,neg\n"


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.csv", "", ":1: the file has no rows"),
        ("a.csv", "text,label\n", ":1: the file has no rows"),
        ("a.csv", "text,labels\ngood,pos\n", ":1: no column 'label'; did you mean 'labels'"),
        ("a.csv", "text#label\ngood#pos\n", ":1: no column 'text'; the columns are: 'text#label'"),
        ("a.csv", "text,label,text\na,b,c\n", ":1: column 'text' stands there more than once"),
        ("a.csv", BASE + "short\n", ":4: the row has 1 fields, the header has 2"),
        ("a.csv", BASE + " ,pos\n", ":4: 'text' is empty"),
        ("a.csv", BASE + "fine,\n", ":4: label 'label' is empty, or no label"),
        ("a.csv", 'text,label\n"two\nlines",pos\n"three\n\nlines",neg\n,pos\n', ":7: 'text' is empty"),
        ("a.csv", BASE + '"a, c",neg\n"a" b,pos\n', ":5: not CSV: quotes that do not match"),
        ("a.csv", BASE + '"a, c",neg\n"never closed,pos\nmore,neg\n', ":5: not CSV: quotes that do not match"),
        ("a.csv", BASE + '"fine",pos\n"a" b,pos\n', ':5: some fields stand in " and others.*Say task.read.quote'),
        ("a.csv", BASE + 'he said \\"hi\\",pos\n', ":4: a backslash stands before.*Say task.read.escape"),
        ("a.csv", BASE.encode() + b"caf\xe9,pos\n", ':4: not UTF-8; task.read.encoding may be "cp1252"'),
        ("a.csv", BASE.encode() + b'"two\ncaf\xe9",pos\n', ":5: not UTF-8"),
        ("a.csv", BASE.encode("utf-16-le"), ':1: byte 0 .* task.read.encoding may be "utf-16-le"'),
        ("a.csv", BASE + "x" * (17 * 2**20), ":4: not CSV: longer than 16 MiB"),
        ("a.csv", "text,label\na,pos\nb,pos\n", ":2: every row has the label 'pos'"),
        ("a.csv", "text,label\na,pos\nb,neg\n", "2 rows are too few"),
        ("a.csv", "text,label\n" + "".join(f"t,{n}\n" for n in range(1001)), "1001 different labels.*right column"),
        ("a.tsv", "text\tlabel\ngood\n", ":2: the row has 1 fields, the header has 2"),
        ("a.jsonl", "\n", ":1: the file has no rows"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text": "a"', ":2: not JSON"),
        ("a.jsonl", "5\n", ":1: not a JSON object"),
        ("a.json", "[1]\n", ":row 1: not a JSON object"),
        ("a.json", '[{"text": "a", "label": 1},\n{"text": "b" "label": 2}]', ":2: not JSON: Expecting ',' delimiter"),
        (
            "a.jsonl",
            '{"text": "a", "label": 1}\n{"text": "b", "label": NaN}\n',
            ":2: label 'label' is no label but 'NaN'",
        ),
        ("a.jsonl", '{"text": "a", "label": "\\ud800"}\n', ":1: 'label' has half a character"),
        ("a.parquet", "PAR1", ": not Parquet"),
        ("a.jsonl", "[" * 100_000, ":1: not JSON"),
        ("a.jsonl", '{"txt": "a", "label": 1}\n', ":1: no column 'text'; did you mean 'txt'"),
        ("a.jsonl", '{"text": [5], "label": 1}\n', ":1: 'text' is empty, or no text"),
        ("a.jsonl", '{"text": "\\ud800", "label": 1}\n', ":1: 'text' has half a character"),
        ("a.jsonl", '{"text": "a", "label": null}\n', ":1: label 'label' is empty, or no label"),
        ("a.txt", BASE, r"not a file of a known kind: \.csv"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(tmp_path: Path, name: str, content: str | bytes, text: str) -> None:
    path = write(tmp_path, name, content)
    where = str(path) if text.startswith(":") else ""
    assert refused(path, tmp_path, where + text).param == "/task/dataset"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("high", "is not a number but 'high'"),
        ("nan", "is not a number"),
        ("", "is not a number but ''"),
        ("1e999", "is not a number"),
    ],
)
def test_a_regression_wants_numbers(tmp_path: Path, value: str, text: str) -> None:
    path = write(tmp_path, "a.csv", f"text,label\na,1\nb,{value}\n")
    refused(path, tmp_path, rf"a\.csv:3: label 'label' {text}", metric="pearson")


def test_a_dev_file_is_checked_too(tmp_path: Path) -> None:
    train = write(tmp_path, "a.csv", BASE)
    dev = write(tmp_path, "dev.csv", "text,label\nfine,pos\nmeh,neutral\n")
    error = refused(train, tmp_path, r"dev\.csv:3: label 'neutral' is not in the training file", dev=str(dev))
    assert error.param == "/task/dev"
    assert refused(train, tmp_path, "the training file itself", dev=str(train)).param == "/task/dev"
    code = "dataset_not_found"
    assert refused(train, tmp_path, "no file or folder", code, dev=str(tmp_path / "no.csv")).param == "/task/dev"


def test_nothing_outside_the_roots_is_read(tmp_path: Path) -> None:
    secret = write(tmp_path, "secret.csv", BASE)
    root = tmp_path / "data"
    train = write(root, "train.csv", BASE + BASE.split("\n", 1)[1])
    refused(secret, root, "not under an allowed folder", "dataset_not_allowed")
    refused(train, root, "not under an allowed folder", "dataset_not_allowed", dev=str(secret))
    (root / "dev.csv").symlink_to(secret)
    refused(root, root, "not under an allowed folder", "dataset_not_allowed")


def test_a_link_inside_the_roots_is_read_as_the_kind_that_its_name_says(tmp_path: Path) -> None:
    write(tmp_path, "blobs/0123", BASE * 1 + BASE.split("\n", 1)[1])
    (tmp_path / "a.csv").symlink_to(tmp_path / "blobs" / "0123")
    assert len(load(tmp_path / "a.csv", tmp_path).train) == 2


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_of_a_large_file_the_gateway_reads_the_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(tasks, "CHECK_ROWS", 100)
    row = {"csv": '"one\ntwo",{}\n', "jsonl": '{{"text": "one", "label": "{}"}}\n'}[kind]
    head = "text,label\n" if kind == "csv" else ""
    wrong = row.replace("one\ntwo", "").replace('"one"', '""').format("x")
    rows = (row.format("x") + row.format("y")) * 100
    settings = SourceSettings(data_roots=[tmp_path])
    late = spec(write(tmp_path, f"late.{kind}", head + rows + wrong))
    check_dataset(late, settings)
    with pytest.raises(LayercutError, match="'text' is empty"):
        load_task(late, settings, 1)
    early = spec(write(tmp_path, f"early.{kind}", head + wrong + rows))
    with pytest.raises(LayercutError, match="'text' is empty"):
        check_dataset(early, settings)


def test_more_rows_than_are_taken_are_refused_unless_a_sample_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, "train.csv", "text,label\n" + "".join(f"a {n},{n % 2}\n" for n in range(100)))
    settings = SourceSettings(data_roots=[tmp_path], max_rows=20)
    with pytest.raises(LayercutError, match="LAYERCUT_MAX_ROWS") as caught:
        load_task(spec(path), settings, 1)
    assert caught.value.code == "ceiling_passed"
    assert len(load_task(spec(path, max_train_rows=20), settings, 1).train) == 20


def test_a_refused_path_tells_no_folder_of_the_service(tmp_path: Path) -> None:
    (root := tmp_path / "roots-of-the-service").mkdir()
    error = refused(tmp_path / "train.csv", root, "LAYERCUT_DATA_ROOTS", "dataset_not_allowed")
    assert "roots-of-the-service" not in error.message
