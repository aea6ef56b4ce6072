"""A finished classifier is scored where it is known which of its outputs is which label, and not else."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from api_schemas.errors import LayercutError
from tests.support.tiny_models import SENTENCES, edit_json, tiny_model
from tests.support.whole_jobs import Delivered, carry_out
from workers.settings import WorkerSettings

pytestmark = pytest.mark.slow

MEANT = {"POSITIVE": "pos", "NEGATIVE": "neg"}


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    """Its first output is POSITIVE: not the order in which labels of data stand."""
    folder = tiny_model("bert", tmp_path / "source", labels=2)
    edit_json(folder / "config.json", id2label={0: "POSITIVE", 1: "NEGATIVE"}, label2id={"POSITIVE": 0, "NEGATIVE": 1})
    return folder


@pytest.fixture
def answers(classifier: Path, tmp_path: Path) -> Path:
    """A table on which it is right in every row."""
    model = AutoModelForSequenceClassification.from_pretrained(classifier).eval()
    tokenizer = AutoTokenizer.from_pretrained(classifier)
    texts = [f"{one} {other}" for one in SENTENCES for other in SENTENCES]
    with torch.inference_mode():
        said = model(**tokenizer(texts, return_tensors="pt", padding=True)).logits
    # Half of the texts on either side, however the numbers were drawn; of these those that bfloat16, in which some
    # machines score, leaves there.
    gaps = said[:, 0] - said[:, 1]
    middle = gaps.median()
    clear = (gaps - middle).abs() > (gaps - middle).abs().median()
    state = {"classifier.bias": model.classifier.bias - torch.stack([middle / 2, -middle / 2])}
    model.load_state_dict(state, strict=False)
    model.save_pretrained(classifier)
    path = tmp_path / "posneg.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        told = [(text, "pos" if gap > middle else "neg") for text, gap in zip(texts, gaps, strict=True)]
        rows.writerows(row for row, is_clear in zip(told, clear, strict=True) if is_clear)
    return path


def pruned(model: Path, table: Path, settings: WorkerSettings, strategy: str = "top", **task: Any) -> Delivered:
    body = {
        "model": str(model),
        "task": {"dataset": str(table), "text_columns": ["text"], "label_column": "label", **task},
        "prune": {"strategy": strategy, "drop": 1},
        "recovery": {"method": "none"},
    }
    return carry_out(body, settings)


def test_words_that_are_not_the_datas_are_not_guessed(
    classifier: Path, answers: Path, settings: WorkerSettings
) -> None:
    report = pruned(classifier, answers, settings).report
    assert (report.before.score, report.after.score) == (None, None)
    assert report.verdict.startswith("not scored: its head says")
    (warning,) = [line for line in report.warnings if "not scored" in line]
    assert "'POSITIVE', 'NEGATIVE'" in warning
    assert "task.labels" in warning


@pytest.mark.parametrize(
    "labels",
    [pytest.param(MEANT, id="by word"), pytest.param(["pos", "neg"], id="in order", marks=pytest.mark.slow)],
)
def test_words_that_are_explained_are_scored_right(
    classifier: Path, answers: Path, settings: WorkerSettings, labels: Any
) -> None:
    delivered = pruned(classifier, answers, settings, labels=labels)
    assert delivered.report.before.score == 100.0
    # The delivered model says what the source said, in its own words.
    assert json.loads((delivered.folder / "config.json").read_text())["id2label"] == {"0": "POSITIVE", "1": "NEGATIVE"}


def test_taylor_goes_by_the_right_labels_or_by_none(classifier: Path, answers: Path, settings: WorkerSettings) -> None:
    with pytest.raises(LayercutError, match=r"taylor goes by the model's loss.*task.labels"):
        pruned(classifier, answers, settings, strategy="taylor")


def test_a_word_that_the_head_does_not_have_is_refused(
    classifier: Path, answers: Path, settings: WorkerSettings
) -> None:
    with pytest.raises(LayercutError, match="the head has no label 'POS'; its labels are: POSITIVE, NEGATIVE") as error:
        pruned(classifier, answers, settings, labels={"POS": "pos", "NEG": "neg"})
    assert error.value.param == "/task/labels"
