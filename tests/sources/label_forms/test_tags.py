"""Tags of words: CoNLL files and lists in tables, the order of IOB2, and every way to be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.sources.own_files import load, refused, write

CONLL = """-DOCSTART- -X- -X- O

# id = 1
EU NNP I-NP B-ORG
rejects VBZ I-VP O
German JJ I-NP B-MISC

Peter NNP I-NP B-PER
Blackburn NNP I-NP I-PER

# id = 3
Rain NN I-NP O
"""
WORDS = [("EU", "rejects", "German"), ("Peter", "Blackburn"), ("Rain",)]
TAGS = [("B-ORG", "O", "B-MISC"), ("B-PER", "I-PER"), ("O",)]
NAMES = ("O", "B-MISC", "I-MISC", "B-ORG", "I-ORG", "B-PER", "I-PER")
IDS = [(3, 0, 1), (5, 6), (0,)]


def spec(path: Path, **more: Any) -> dict[str, Any]:
    columns = {} if path.suffix not in (".jsonl", ".json", ".parquet") else {
        "text_columns": ["tokens"], "label_column": "ner_tags"
    }  # fmt: skip
    return {"dataset": str(path), "kind": "token-classification", **columns, **more}


def lines(words: Any = tuple(WORDS), tags: Any = tuple(TAGS)) -> str:
    rows = ({"tokens": row, "ner_tags": marks} for row, marks in zip(words, tags, strict=True))
    return "".join(json.dumps(row) + "\n" for row in rows)


def as_parquet(folder: Path) -> Path:
    numbers = [[["O", *NAMES[1:]].index(tag) for tag in row] for row in TAGS]
    pq.write_table(pa.table({"tokens": [list(row) for row in WORDS], "ner_tags": numbers}), folder / "a.parquet")
    return folder / "a.parquet"


@pytest.mark.parametrize("name", ["train.conll", "train.bio", "train.IOB", "train.jsonl", "train.json", "a.parquet"])
def test_every_kind_of_file(tmp_path: Path, name: str) -> None:
    more: dict[str, Any] = {}
    if name.endswith(".parquet"):
        path, more = as_parquet(tmp_path), {"labels": list(NAMES)}
    elif name.endswith(".jsonl"):
        path = write(tmp_path, name, lines())
    elif name.endswith(".json"):
        rows = [{"tokens": w, "ner_tags": t} for w, t in zip(WORDS, TAGS, strict=True)]
        path = write(tmp_path, name, json.dumps(rows))
    else:
        path = write(tmp_path, name, CONLL)
    dev = write(tmp_path, "dev.conll", "Paris\tB-ORG\r\nin\tO\r\n")
    data = load(spec(path, dev=str(dev), **more), tmp_path)
    assert (data.kind, data.label_names, data.metrics) == ("token-classification", NAMES, ("entity_f1",))
    assert (list(data.train.texts), list(data.train.labels)) == (WORDS, IDS)
    assert (list(data.dev["dev"].texts), list(data.dev["dev"].labels)) == ([("Paris", "in")], [(3, 0)])


def test_a_folder_of_conll_files(tmp_path: Path) -> None:
    write(tmp_path, "data/train.conll", "\ufeff" + CONLL.replace("\n", "\r\n"))
    write(tmp_path, "data/valid.conll", "Rain O")
    data = load(spec(tmp_path / "data"), tmp_path)
    assert (list(data.train.texts), list(data.dev["dev"].labels)) == (WORDS, [(0,)])


def test_a_folder_of_tables_needs_columns(tmp_path: Path) -> None:
    write(tmp_path, "data/train.jsonl", lines())
    refused(spec(tmp_path / "data"), tmp_path, "is a table, and a table needs text_columns", "/task/text_columns")


def test_words_keep_every_blank_but_those_between_columns(tmp_path: Path) -> None:
    path = write(tmp_path, "a.conll", "1\u00a0000 \t B-N\n\u3000 O\n#\tO\n# O\n\n#\tO\n\nx O\n")
    data = load(spec(path, dev=str(write(tmp_path, "d.conll", "x O\n"))), tmp_path)
    assert list(data.train.texts) == [("1\u00a0000", "\u3000", "#", "#"), ("#",), ("x",)]


def test_a_tenth_is_kept_aside_by_the_seed(tmp_path: Path) -> None:
    path = write(tmp_path, "a.conll", "".join(f"w{at} B-X\nend O\n\n" for at in range(40)))
    first, again, other = (load(spec(path), tmp_path, seed) for seed in (1, 1, 2))
    assert (len(first.train), len(first.dev["dev"])) == (36, 4)
    assert first.dev["dev"].digest() == again.dev["dev"].digest() != other.dev["dev"].digest()
    assert not {*first.train.texts} & {*first.dev["dev"].texts}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("a O\nb I-LOC\n", ":2: 'I-LOC' after 'O': in IOB2 the first word of an entity has 'B-LOC'"),
        ("a B-PER\nb I-LOC\n", ":2: 'I-LOC' after 'B-PER': in IOB2 the first word of an entity has 'B-LOC'"),
        ("# x\n\na I-LOC\n", ":3: 'I-LOC' at the start of a sentence: in IOB2 .* has 'B-LOC'"),
        ("a B-X\n\nb O\nc I-X\n", ":4: 'I-X' after 'O'"),
        ("a B-X\nb S-X\n", ":2: 'S-X' is no tag of IOB2: it has O, B-TYPE and I-TYPE"),
        ("a B-\n", ":1: 'B-' is no tag of IOB2"),
        ("a NN\n", ":1: 'NN' is no tag of IOB2"),
        ("a x B-X\nb O\n", ":2: the line has 2 columns, and those before it have 3"),
        ("a\n", ":1: the line has 1 column, and a word and its tag are two"),
        ("a O\n\nb O\n", "every tag is O: there is nothing to learn"),
        ("a B-X\n\nb O\n", "2 rows are too few to keep some aside"),
        ("\n\n-DOCSTART- O\n\n", ":1: the file has no rows"),
        ("", ":1: the file has no rows"),
    ],
)
def test_wrong_conll_is_refused_with_its_line(tmp_path: Path, content: str, text: str) -> None:
    refused(spec(write(tmp_path, "a.conll", content)), tmp_path, text)


@pytest.mark.parametrize(
    ("words", "tags", "text"),
    [
        ([["a"], ["b", "c"]], [["B-X"], ["O", "I-X"]], ":2: word 2: 'I-X' after 'O': in IOB2"),
        ([["a", "b"]], [["B-X"]], ":1: 2 words and 1 tags"),
        ([["a"]], [None], ":1: 'ner_tags' is missing, or no list"),
        ([None], [["O"]], ":1: 'tokens' is empty, or no text"),
        (["a b"], [["O", "O"]], ":1: 'tokens' is no list as JSON writes one"),
        ([["a"], []], [["B-X"], []], r":2: 'tokens' has 0 words"),
        ([["a", " "]], [["B-X", "O"]], ":1: word 2 of 'tokens' is ' '"),
        ([["a", 1]], [["B-X", "O"]], ":1: word 2 of 'tokens' is 1"),
        ([["a", "b\0"]], [["B-X", "O"]], ":1: word 2 of 'tokens' is 'b"),
        ([["a"]], [[1]], "tags are numbers such as 1: say in task.labels which tag each is"),
        ([["a"]], [[True]], ":1: word 1: True is no tag"),
    ],
)
def test_wrong_lists_are_refused_with_their_row(tmp_path: Path, words: Any, tags: Any, text: str) -> None:
    refused(spec(write(tmp_path, "a.jsonl", lines(words, tags))), tmp_path, text)


@pytest.mark.parametrize(
    ("labels", "tags", "text", "param"),
    [
        (["O", "B-X"], [[5]], "word 1: the number 5, and task.labels has 2", "/task/dataset"),
        (["O", "B-X"], [[-1]], "word 1: the number -1, and task.labels has 2", "/task/dataset"),
        (["O", "B-X"], [["B-Y"]], "word 1: 'B-Y' is none of task.labels, which are: O, B-X", "/task/dataset"),
        (["O", "X"], [[0]], "'X' is no tag of IOB2", "/task/labels"),
        (["B-X", "I-X"], [[0]], "task.labels has no O", "/task/labels"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, labels: Any, tags: Any, text: str, param: str) -> None:
    refused(spec(write(tmp_path, "a.jsonl", lines([["a"]], tags)), labels=labels), tmp_path, text, param)


def test_an_order_of_ones_own_is_kept(tmp_path: Path) -> None:
    order = ["B-X", "I-X", "O", "B-Y"]
    path, dev = write(tmp_path, "a.jsonl", lines([["a", "b"]], [[0, 2]])), write(tmp_path, "d.conll", "c B-Y\n")
    data = load(spec(path, labels=order, dev=str(dev)), tmp_path)
    assert (data.label_names, list(data.train.labels), list(data.dev["dev"].labels)) == (tuple(order), [(0, 2)], [(3,)])


def test_an_unknown_tag_in_dev_is_refused_with_its_line(tmp_path: Path) -> None:
    train, dev = write(tmp_path, "a.conll", CONLL), write(tmp_path, "d.conll", "a O\n\nb B-LOC\n")
    asked = spec(train, dev=str(dev))
    refused(asked, tmp_path, ":3: 'B-LOC' is not in the training file, whose tags are: O, B-MISC", "/task/dev")
    further = write(tmp_path, "further.conll", "b B-ORG\nc I-ORG\n")
    assert list(load({**asked, "dev": str(further)}, tmp_path).dev["dev"].labels) == [(3, 4)]


def test_bad_sentences_are_left_out_where_that_is_asked(tmp_path: Path) -> None:
    content = "a B-X\n\nb I-Z\n\nc O\nd\ne O\n\nf S-X\n\ng O\n"
    path, dev = write(tmp_path, "a.conll", content), write(tmp_path, "d.conll", "a O\n")
    data = load(spec(path, dev=str(dev), read={"bad_rows": "skip"}), tmp_path)
    assert (list(data.train.texts), data.label_names) == ([("a",), ("g",)], ("O", "B-X", "I-X"))
    assert data.train.skipped == {
        "tags that break the order of IOB2": 1, "lines that cannot be read": 1, "no tag that is known": 1
    }  # fmt: skip
    assert any("3 rows of" in warning for warning in data.warnings)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"a B-X\nb\0 O\n", ":2: byte 0 in the line"),
        (b"a B-X\nb\xff O\n", ":2: not UTF-8: byte 0xff at position 2"),
        (b"a B-X\nb\xed\xa0\x80 O\n", ":2: not UTF-8"),
        (b"a B-X\n" + b"x" * 10_000_000 + b" O\n", ":2: a word of 10000000 characters; at most 1000"),
        (b"a B-X\n" + b"x " * 5_000_000 + b"O\n", ":2: the line has more than 100 columns"),
        (b"a B-X\n" + b"x" * 20_000_000 + b" O\n", ":2: the line is longer than 16 MiB"),
        (b"a B-X\n" + b"x O\n" * 30_000, ":20001: a sentence of more than 20000 words: an empty line ends each"),
        (b"".join(b"a B-T%d\n" % at for at in range(600)), "more than 499 types of entities: is the last column the"),
        (b"a B-" + b"x" * 600 + b"\n", "is no tag of IOB2"),
        (b"a B-x\xc2\x85\n", "every tag|too few"),
    ],
)
def test_files_that_are_an_attack(tmp_path: Path, content: bytes, text: str) -> None:
    refused(spec(write(tmp_path, "a.conll", content)), tmp_path, text)


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ('{"tokens": ["a\\ud800"], "ner_tags": ["O"]}', "surrogate|no text of 1 to 1000"),
        ('{"tokens": [[["a"]]], "ner_tags": ["O"]}', "word 1 of 'tokens' is"),
        (f'{{"tokens": {"[" * 3000 + "]" * 3000}, "ner_tags": ["O"]}}', "not JSON|no list as JSON|word 1 of 'tokens'"),
        (f'{{"tokens": {json.dumps(["w"] * 50_000)}, "ner_tags": {json.dumps(["O"] * 50_000)}}}', "has 50000 words"),
        (f'{{"tokens": {json.dumps(["w"] * 400_000)}, "ner_tags": ["O"]}}', "is a list of [0-9]+ characters"),
        (f'{{"tokens": [{json.dumps("w" * 2000)}], "ner_tags": ["O"]}}', "no text of 1 to 1000 characters"),
    ],
)
def test_rows_that_are_an_attack(tmp_path: Path, row: str, text: str) -> None:
    refused(spec(write(tmp_path, "a.jsonl", row + "\n")), tmp_path, text)
