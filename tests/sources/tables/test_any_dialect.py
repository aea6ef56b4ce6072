"""Whatever a table is written with: the rows come back as they were written, or an error says where and what to do."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import pandas
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from api_schemas.errors import LayercutError
from api_schemas.read_spec import ReadSpec
from sources.tables.data_file import DataFile
from sources.tables.dialects import dialect_of
from sources.tables.table import Table

# What tables trip over, and plain words between.
PIECES = st.sampled_from(
    [
        "a",
        "word",
        " ",
        "é",
        "☃",
        ",",
        ";",
        "\t",
        "|",
        '"',
        '""',
        "'",
        "it's",
        "\n",
        "\r\n",
        "\r",
        "\\",
        '\\"',
        "#",
        "NULL",
    ]
)
TEXT = st.lists(PIECES, min_size=1, max_size=8).map("".join).filter(lambda text: text.strip() != "")
LABEL = st.sampled_from(["pos", "neg", "so, so", "1"])
TABLE = st.lists(st.tuples(TEXT, LABEL), min_size=4, max_size=12).filter(
    lambda rows: len({label for _, label in rows}) > 1
)

DIALECT = st.fixed_dictionaries(
    {
        "delimiter": st.sampled_from(",;\t|"),
        "quotechar": st.sampled_from("\"'"),
        "quoting": st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC, csv.QUOTE_NONE]),
        "lineterminator": st.sampled_from(["\n", "\r\n", "\r"]),
        "escape": st.booleans(),
    }
)
ENCODING = st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])
EXAMPLES = settings(
    max_examples=int(os.environ.get("LAYERCUT_EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def written(rows: list[tuple[str, str]], dialect: dict[str, Any]) -> str:
    """By Python's writer; rows that this dialect cannot hold are no examples."""
    options = dict(dialect)
    if options.pop("escape"):
        options |= {"escapechar": "\\", "doublequote": False}
    out = io.StringIO(newline="")
    try:
        csv.writer(out, **options).writerows([("text", "label"), *rows])
    except csv.Error:
        assume(False)
    return out.getvalue()


def read(path: Path, **how: Any) -> list[tuple[str, str]]:
    """What a job would learn, in the order of the file."""
    with Table(DataFile(path, path.name, "/task/dataset"), ["text"], "label", ReadSpec(**how)) as table:
        return [(text, label) for batch in table.batches() for text, label, _ in batch]


def same_or_refused(path: Path, rows: list[tuple[str, str]], **how: Any) -> None:
    found: list[tuple[str, str]] | LayercutError
    try:
        found = read(path, **how)
    except LayercutError as error:
        found = error
    if isinstance(found, LayercutError):
        assert found.code == "dataset_invalid"
        assert re.match(rf"{re.escape(path.name)}:\d+: ", found.message)
    else:
        assert found == rows


@EXAMPLES
@given(rows=TABLE, dialect=DIALECT, encoding=ENCODING)
def test_csv(tmp_path: Path, rows: list[tuple[str, str]], dialect: dict[str, Any], encoding: str) -> None:
    path = tmp_path / ("a.tsv" if dialect["delimiter"] == "\t" else "a.csv")
    path.write_bytes(written(rows, dialect).encode(encoding))
    same_or_refused(path, rows)


@EXAMPLES
@given(rows=TABLE, dialect=DIALECT, encoding=st.sampled_from(["cp1252", "utf-16-le", "latin-1"]))
def test_csv_that_is_described(
    tmp_path: Path, rows: list[tuple[str, str]], dialect: dict[str, Any], encoding: str
) -> None:
    """Where everything is said, every table comes back."""
    path = tmp_path / "a.csv"
    rows = [(text.replace("☃", "e"), label) for text, label in rows]
    path.write_bytes(written(rows, dialect).encode(encoding))
    quoted = dialect["quoting"] != csv.QUOTE_NONE
    how = {
        "delimiter": dialect["delimiter"],
        "quote": dialect["quotechar"] if quoted else "none",
        "escape": "backslash" if dialect["escape"] else "doubled",
        "encoding": encoding,
    }
    same_or_refused(path, rows, **how)


@EXAMPLES
@given(rows=TABLE, lines=st.booleans(), ascii=st.booleans())
def test_json(tmp_path: Path, rows: list[tuple[str, str]], lines: bool, ascii: bool) -> None:
    path = tmp_path / ("a.jsonl" if lines else "a.json")
    records = [{"label": label, "text": text} for text, label in rows]
    body = (
        "".join(json.dumps(row, ensure_ascii=ascii) + "\n" for row in records)
        if lines
        else json.dumps(records, ensure_ascii=ascii, indent=1)
    )
    path.write_text(body, encoding="utf-8", newline="")
    assert read(path) == rows


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl", "parquet"])
@EXAMPLES
@given(rows=TABLE)
@example(rows=[('he said "hi"', "pos"), ("plain", "neg"), ("tab\there", "pos"), ("a, b", "neg")])
def test_as_pandas_writes_it(tmp_path: Path, kind: str, rows: list[tuple[str, str]]) -> None:
    path, frame = tmp_path / f"a.{kind}", pandas.DataFrame(rows, columns=["text", "label"])
    write = {
        "csv": lambda: frame.to_csv(path, index=False),
        "tsv": lambda: frame.to_csv(path, index=False, sep="\t"),
        "json": lambda: frame.to_json(path, orient="records"),
        "jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        "parquet": lambda: frame.to_parquet(path),
    }
    write[kind]()
    if kind in ("csv", "tsv"):
        same_or_refused(path, rows)
    else:
        assert read(path) == rows


def test_an_apostrophe_that_would_join_two_rows_is_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\na,pos\na,pos\n',pos\n',neg\n")

    with pytest.raises(LayercutError, match=r"a\.csv:4: an apostrophe begins some fields, .* task\.read\.quote"):
        read(path)
    assert read(path, quote="none")[2:] == [("'", "pos"), ("'", "neg")]


@pytest.mark.parametrize(
    ("late", "expected"),
    [
        ('"he said \\"hi\\", and left",1\n', 'he said "hi", and left'),
        ("'one, two',1\n", "one, two"),
        ('"one, ""two""",1\n', 'one, "two"'),
        ("a,1\r\n", "a"),
    ],
    ids=["backslash", "apostrophe", "quotes", "line ends"],
)
def test_how_a_file_is_written_may_show_after_thousands_of_short_rows(tmp_path: Path, late: str, expected: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "w,0\n" * 55_000 + late * 10, encoding="utf-8", newline="")

    assert read(path)[-1] == (expected, "1")


@pytest.mark.parametrize("first", ['"one, two"', "'one, two'", '"he said \\"hi\\", he did"'], ids=["", "'", "\\"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_dialect_is_the_same_wherever_the_sample_is_cut(tmp_path: Path, first: str, end: str) -> None:
    rows = f"text,label,more{end}" + f"{first},word,{first}{end}" * 10
    whole = dialect_of(rows, ["text", "label"], ".csv", ReadSpec())

    for size in range(len(rows) - 80, len(rows)):
        assert dialect_of(rows[:size], ["text", "label"], ".csv", ReadSpec(), cut=True) == whole
