"""How many rows, and how much text: told from the head of a file, whatever is in it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api_schemas.read_spec import ReadSpec
from api_schemas.task_spec import TaskSpec
from api_schemas.text_spec import TextSpec
from sources.data_size import HEAD_BYTES, data_size
from sources.settings import SourceSettings

TEXT = 'words, "quoted"\nand a second line: '
COMMA = {"read": ReadSpec(delimiter=",", quote='"', escape="doubled", encoding="utf-8")}


@pytest.fixture
def settings(tmp_path: Path) -> SourceSettings:
    return SourceSettings(data_roots=[tmp_path], glue_dir=None)


def write(path: Path, rows: int) -> Path:
    """So many rows with a text of some forty bytes, in the format of the name."""
    texts = [f"{TEXT}{at:06}" for at in range(rows)]
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("id", "text", "label"), *((at, text, "a") for at, text in enumerate(texts))])
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"label": "a", "text": text}) + "\n" for text in texts))
    elif path.suffix == ".json":
        path.write_text(json.dumps([{"label": "a", "text": text} for text in texts], indent=1))
    else:
        pq.write_table(pa.table({"text": texts, "label": ["a"] * rows}), path)
    return path


def task(path: Path, **more: Any) -> TaskSpec:
    return TaskSpec(dataset=str(path), text_columns=["text"], label_column="label", **more)


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.json", "t.parquet"])
@pytest.mark.parametrize("rows", [100, 60_000])
def test_rows_are_counted_and_texts_measured_in_every_format(
    tmp_path: Path, settings: SourceSettings, name: str, rows: int
) -> None:
    path = write(tmp_path / name, rows)
    found = data_size(task(path, **(COMMA if name.endswith("csv") else {})), None, settings)
    assert found.train.rows + found.dev.rows == pytest.approx(rows, rel=0.02)
    assert found.dev.rows == pytest.approx(rows / 10, rel=0.05), "a tenth is kept aside"
    assert sum(found.train.lengths) / len(found.train.lengths) == pytest.approx(len(TEXT) + 6)
    assert found.unknown == ()


def test_a_dev_file_a_sample_and_text_beside_are_taken_as_asked(tmp_path: Path, settings: SourceSettings) -> None:
    train, dev = write(tmp_path / "train.jsonl", 1000), write(tmp_path / "dev.jsonl", 50)
    (tmp_path / "more.txt").write_text("a text\n\n" * 700)
    found = data_size(
        task(train, dev=str(dev), max_train_rows=300), TextSpec(dataset=str(tmp_path / "more.txt"), rows=500), settings
    )
    assert (found.train.rows, found.dev.rows, found.text and found.text.rows) == (300, 50, 500)


def test_of_a_parquet_too_the_column_is_text_where_none_is_named(tmp_path: Path, settings: SourceSettings) -> None:
    path = write(tmp_path / "texts.parquet", 700)
    found = data_size(TaskSpec(dataset=str(path), kind="embedding"), None, settings)
    assert found.train.rows + found.dev.rows == 700
    assert found.unknown == ()


def test_sentences_of_a_conll_file_are_its_rows(tmp_path: Path, settings: SourceSettings) -> None:
    path = tmp_path / "tags.conll"
    path.write_text("Ada B-PER\nwrote O\n\nin O\nLondon B-LOC\ntoo O\n\n" * 100)
    found = data_size(TaskSpec(dataset=str(path), kind="token-classification"), None, settings)
    assert found.train.rows + found.dev.rows == 200
    assert set(found.train.lengths) == {len("Ada wrote"), len("in London too")}


def test_glue_is_counted_where_it_lies_and_else_taken_from_a_table(tmp_path: Path, settings: SourceSettings) -> None:
    folder = tmp_path / "RTE"
    folder.mkdir()
    for name, rows in (("train", 200), ("dev", 40)):
        lines = [f'{at}\tA "text\tanother one\tentailment' for at in range(rows)]
        (folder / f"{name}.tsv").write_text("\n".join(["index\tsentence1\tsentence2\tlabel", *lines]) + "\n")
    local = data_size(TaskSpec(name="rte"), None, settings.model_copy(update={"glue_dir": tmp_path}))
    assert (local.train.rows, local.dev.rows, local.train.texts) == (200, 40, 2)
    assert local.unknown == ()
    hub = data_size(TaskSpec(name="rte"), None, settings)
    assert (hub.train.rows, hub.dev.rows) == (2490, 277)
    assert "taken from a table" in hub.unknown[0]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.jsonl", b"[" * 200_000),
        ("t.json", b'{"text": "' + b"x" * (2 * HEAD_BYTES)),
        ("t.csv", b"text,label\n" + b"x" * (2 * HEAD_BYTES)),
        ("t.csv", b"a,b\n1,2\n"),
        ("t.parquet", b"PAR1 and no more"),
        ("t.jsonl", bytes(range(256)) * 100),
        ("t.csv", b""),
    ],
)
def test_what_cannot_be_counted_is_guessed_and_said(
    tmp_path: Path, settings: SourceSettings, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    found = data_size(task(tmp_path / name), None, settings)
    assert found.train.rows >= 1
    assert "guessed" in found.unknown[0]
