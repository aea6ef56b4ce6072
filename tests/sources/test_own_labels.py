"""The labels of the user's own table: which there are, in which order, which is meant, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from api_schemas.errors import LayercutError
from api_schemas.task_spec import TaskSpec
from sources.settings import SourceSettings
from sources.tasks import TaskData, check_dataset, load_task


def load(folder: Path, written: list[Any], dev: list[Any] | None = None, **more: Any) -> TaskData:
    def put(name: str, values: list[Any]) -> str:
        path = folder / name
        path.write_text("".join(json.dumps({"text": f"t{at}", "label": one}) + "\n" for at, one in enumerate(values)))
        return str(path)

    files = {"dataset": put("a.jsonl", written)} | ({"dev": put("dev.jsonl", dev)} if dev else {})
    spec = TaskSpec(**{**files, "text_columns": ["text"], "label_column": "label", **more})
    settings = SourceSettings(data_roots=[folder])
    return load_task(check_dataset(spec, settings), settings, 1)


def test_spellings_that_differ_in_case_or_blanks_are_one_label(tmp_path: Path) -> None:
    data = load(tmp_path, ["Spam", "spam", " SPAM ", "spam", "ham", "ham"], dev=["SPAM", "Ham"])
    assert data.label_names == ("ham", "spam")
    assert list(data.dev["dev"].labels) == [1, 0]
    (warning,) = [line for line in data.warnings if "spam" in line]
    assert "3 ways" in warning


def test_one_number_is_one_label_in_every_file(tmp_path: Path) -> None:
    data = load(tmp_path, [0, 1, "0", "1.0"], dev=["0.0", 1.0, True and "1"])
    assert (data.label_names, list(data.dev["dev"].labels)) == (("0", "1"), [0, 1, 1])


def test_decimals_are_asked_about(tmp_path: Path) -> None:
    stars = [1.5, 10, 2, 2.5, 1.5, 10] * 2
    with pytest.raises(LayercutError, match=r'with decimals, such as 1\.5.*task\.kind: "regression", or "class'):
        load(tmp_path, stars)
    assert load(tmp_path, stars, kind="classification").label_names == ("1.5", "2", "2.5", "10")
    numbers = load(tmp_path, stars, kind="regression")
    assert (numbers.label_names, numbers.metrics) == ((), ("pearson",))


def test_the_order_is_the_one_that_is_asked_for(tmp_path: Path) -> None:
    data = load(tmp_path, ["b", "A", "a", "b"], labels=["b", "a", "never seen"])
    assert data.label_names == ("b", "a", "never seen")
    with pytest.raises(LayercutError, match=r"label 'c' is none of task\.labels, which are: b, a"):
        load(tmp_path, ["b", "a", "c", "b"], labels=["b", "a"])


@pytest.mark.parametrize(
    ("labels", "asked", "positive"),
    [
        (["fraud", "normal"], None, None),
        (["fraud", "normal"], "Fraud", 0),
        ([0, 1], None, 1),
        (["no", "yes"], None, 1),
        ([True, False], None, 1),
        (["Positive", "negative"], None, 1),
        (["a", "b", "1"], None, None),
        (["a", "b", "c"], "c", 2),
    ],
)
def test_the_label_that_f1_is_of(tmp_path: Path, labels: list[Any], asked: str | None, positive: int | None) -> None:
    more = {"positive_label": asked} if asked else {}
    assert load(tmp_path, labels * 3, metric="f1", **more).positive == positive


def test_a_positive_label_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LayercutError, match="the data has no label 'scam'; it has: fraud, normal") as error:
        load(tmp_path, ["fraud", "normal"] * 3, metric="f1", positive_label="scam")
    assert error.value.param == "/task/positive_label"


@pytest.mark.parametrize(
    ("task", "param", "text"),
    [
        ({"kind": "regression", "metric": "f1"}, "/task/metric", "not for a regression"),
        ({"kind": "classification", "metric": "pearson"}, "/task/metric", "not for a classification"),
        ({"metric": "pearson", "labels": ["a", "b"]}, "/task/labels", "learns numbers and has no labels"),
        ({"labels": ["a", "A "]}, "/task/labels", "listed twice"),
        ({"positive_label": "a"}, "/task/positive_label", "goes with metric f1"),
        ({"metric": "f1", "labels": ["a", "b"], "positive_label": "c"}, "/task/positive_label", "none of task.labels"),
    ],
)
def test_parts_that_do_not_fit(task: dict[str, Any], param: str, text: str) -> None:
    with pytest.raises(LayercutError, match=text) as error:
        TaskSpec(**{"dataset": "/a.csv", "text_columns": ["text"], "label_column": "label", **task})
    assert error.value.param == param


def test_what_makes_a_score_mean_less_is_told(tmp_path: Path) -> None:
    more = {"text_columns": ["text", "label", "text"]}
    warnings = load(tmp_path, ["a", "b"] * 5, dev=["a", "b", "a"], **more).warnings
    assert any("label column 'label' is read as a text" in line for line in warnings)
    assert any("text column 'text' is given more than once" in line for line in warnings)
    assert any(line.startswith("3 of the 3 dev rows have texts that are in the training rows") for line in warnings)
