"""The check of the stock pipeline fails where a user would be told something else than the model says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from tests.support.tiny_models import tiny_model
from workers.export.verification import text_checks
from workers.export.verification.loaded import load

LABELS = ["fast", "late", "never"]
KINDS: dict[str, dict[str, Any]] = {
    "labels": {"task": "text-classification", "labels": LABELS, "problem": "multi_label_classification"},
    "label": {"task": "text-classification", "labels": LABELS, "problem": "single_label_classification"},
    "tags": {"task": "token-classification", "labels": LABELS, "problem": None},
}


def _exported(folder: Path, kind: str) -> Path:
    tiny_model("bert", folder, head="base", layers=2)
    stock = AutoModelForTokenClassification if kind == "tags" else AutoModelForSequenceClassification
    torch.manual_seed(0)
    model = stock.from_pretrained(
        folder, id2label=dict(enumerate(LABELS)), label2id={name: at for at, name in enumerate(LABELS)},
        problem_type=KINDS[kind]["problem"],
    )  # fmt: skip
    torch.nn.init.normal_(model.classifier.weight)
    model.save_pretrained(folder)
    return folder


def _check(folder: Path, kind: str) -> tuple[bool, str]:
    asked = {"folder": str(folder), "pipeline": KINDS[kind]}
    with torch.inference_mode():
        return text_checks.check_pipeline(asked, lambda: load(str(folder), torch.float32))


def _write(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize("kind", KINDS)
def test_it_passes_as_it_was_exported(kind: str, tmp_path: Path) -> None:
    passed, said = _check(_exported(tmp_path / "model", kind), kind)
    assert passed, said


@pytest.mark.parametrize("kind", KINDS)
def test_names_in_another_order_are_told(kind: str, tmp_path: Path) -> None:
    folder = _exported(tmp_path / "model", kind)
    _write(folder, id2label={"0": "late", "1": "fast", "2": "never"}, label2id={"late": 0, "fast": 1, "never": 2})
    passed, said = _check(folder, kind)
    assert not passed
    assert "config.json says labels ['late', 'fast', 'never']" in said


@pytest.mark.parametrize("problem", [None, "single_label_classification"])
def test_a_softmax_over_any_number_of_labels_is_told(problem: str | None, tmp_path: Path) -> None:
    folder = _exported(tmp_path / "model", "labels")
    _write(folder, problem_type=problem)
    passed, said = _check(folder, "labels")
    assert not passed
    assert f"config.json says problem {problem}, not multi_label_classification" in said


def _labels(*names: str) -> list[dict[str, Any]]:
    return [{"entity": name} for name in names]


def test_answers_that_are_not_the_models_are_told() -> None:
    said, text = {"labels": LABELS, "problem": "multi_label_classification"}, torch.tensor([0.0, 2.0, -3.0])
    right = [{"label": name, "score": score} for name, score in zip(LABELS, text.sigmoid().tolist(), strict=True)]
    softmax = [{"label": name, "score": score} for name, score in zip(LABELS, text.softmax(0).tolist(), strict=True)]
    assert text_checks._answers(right, text, None, said)
    assert not text_checks._answers(softmax, text, None, said)
    assert not text_checks._answers(right[:2], text, None, said)
    tokens, inside = torch.eye(3)[[0, 1, 2, 0]], torch.tensor([False, True, True, False])
    assert text_checks._answers(_labels("late", "never"), tokens, inside, said)
    assert not text_checks._answers(_labels("late"), tokens, inside, said)
    assert not text_checks._answers(_labels("never", "late"), tokens, inside, said)
