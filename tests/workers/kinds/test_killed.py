"""Jobs of every kind, killed in the middle of the recovery and run again: they resume, and deliver the same bytes."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.embedding_models import NORMALIZE, embedding_model
from tests.support.killed_jobs import Job, Line, messages, never
from tests.support.kind_data import tagged, texts, with_labels

pytestmark = pytest.mark.slow

RECOVERY = {"epochs": 4, "batch_size": 8, "learning_rate": 1e-3}


def tags(folder: Path) -> dict[str, Any]:
    return {"task": {"kind": "token-classification", "dataset": str(tagged(folder / "words.conll", 60))}}


def label_sets(folder: Path) -> dict[str, Any]:
    table = str(with_labels(folder / "sets.jsonl", 60))
    return {"task": {"kind": "multi-label", "dataset": table, "text_columns": ["text"], "label_column": "about"}}


def vectors(folder: Path) -> dict[str, Any]:
    source = embedding_model(folder / "sentences", NORMALIZE)
    return {"model": str(source), "task": {"kind": "embedding", "dataset": str(texts(folder / "texts.txt", 150))}}


def text_beside_labels(folder: Path) -> dict[str, Any]:
    text = {"dataset": str(texts(folder / "more.txt", 100))}
    return {"recovery": {**RECOVERY, "text": text, "label_weight": 0.2, "checkpoint": "best"}}


def in_recovery(line: Line) -> bool:
    return line["type"] == "job.progress" and line["data"].get("step", 0) >= 9 and bool(RECOVERING)


RECOVERING: list[bool] = []


def watched(line: Line) -> bool:
    """True at the ninth step of the recovery."""
    if line["type"] == "job.stage":
        RECOVERING[:] = [True] if line["data"]["stage"] == "recovering" else []
    return in_recovery(line)


@pytest.mark.parametrize(
    "more", [vectors, *(pytest.param(kind, marks=pytest.mark.long) for kind in (tags, label_sets, text_beside_labels))]
)
def test_it_goes_on_where_it_was(more: Any, tmp_path: Path) -> None:
    job = Job(tmp_path, {"recovery": RECOVERY, "prune": {"drop": 1}, **more(tmp_path)})
    code, _ = job.run("whole", 1, never, signal.SIGKILL)
    assert code == 0
    code, told = job.run("cut", 1, watched, signal.SIGKILL)
    assert code == -signal.SIGKILL
    code, again = job.run("cut", 2, never, signal.SIGKILL)
    assert code == 0
    assert "resumed at step" in messages([*told, *again])
    assert job.weights("cut", 2) == job.weights("whole", 1)
