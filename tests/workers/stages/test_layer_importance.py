"""Whole jobs that rank layers: on the task, on plain text, by a loss; what they echo, share and refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from api_schemas.errors import LayercutError
from api_schemas.events import EventType, NewEvent
from api_schemas.reports import Report
from api_schemas.requests import JobRequest
from tests.support.tiny_models import SENTENCES, tiny_model
from workers.cache.folder import FolderCache
from workers.pipeline import run_pipeline
from workers.settings import WorkerSettings


class Jobs:
    """Jobs with one cache for all of them, and a table and a file of plain text to ask for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = WorkerSettings(data_dir=folder, model_roots=[folder], data_roots=[folder], device="cpu")
        self.cache = FolderCache(folder / "cache", 1 << 30)
        rows = [f"{SENTENCES[row % 8]} {row},{'up' if row % 2 else 'down'}" for row in range(40)]
        self.table = folder / "table.csv"
        self.table.write_text("\n".join(["text,label", *(row.replace(", ", " ") for row in rows)]) + "\n")
        self.text = folder / "plain.txt"
        self.text.write_text("\n\n".join(SENTENCES) + "\n")

    @property
    def task(self) -> dict[str, Any]:
        return {"dataset": str(self.table), "text_columns": ["text"], "label_column": "label"}

    def run(self, model: Path, name: str, prune: dict[str, Any], task: Any = "none", **more: Any) -> Report:
        body = {
            "model": str(model), "task": task, "prune": {"drop": 2, **prune},
            "evaluation": {"latency": {"batch_sizes": [], "sequence_lengths": []}}, **more,
        }  # fmt: skip
        self.events: list[NewEvent] = []
        out = self.folder / f"out-{name}"
        out.mkdir()
        request = JobRequest.model_validate(body)
        run_pipeline(request, job_id=None, out=out, settings=self.settings, tell=self.events.append, shared=self.cache)
        return Report.model_validate_json((out / "artifact" / "report.json").read_text())

    def refusal(self, model: Path, name: str, prune: dict[str, Any], task: Any = "none", **more: Any) -> LayercutError:
        with pytest.raises(LayercutError) as caught:
            self.run(model, name, prune, task, **more)
        return caught.value


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path)


@pytest.mark.long
@pytest.mark.slow
def test_plain_text_measures_a_model_without_a_task_once_for_every_strategy(jobs: Jobs) -> None:
    model = tiny_model("bert", jobs.folder / "source", head="base")
    calibration = {"dataset": str(jobs.text), "rows": 5}
    first = jobs.run(model, "first", {"strategy": "block_influence", "calibration": calibration})
    importance = first.strategy.importance
    assert first.layers.dropped == sorted(sorted(range(1, 6), key=lambda layer: importance[layer])[:2])
    told = first.strategy.calibration
    assert (told.source, told.rows, told.max_length) == ("text", 5, 64)
    assert "plain.txt (5 of 8 rows" in told.dataset
    resolved = next(event.data for event in jobs.events if event.type == EventType.RESOLVED)
    assert resolved.prune.calibration.model_dump() == {
        "source": "text", "dataset": str(jobs.text), "text_columns": [], "rows": 5,
        "read": {"delimiter": None, "quote": None, "escape": None, "encoding": "utf-8", "bad_rows": "refuse"},
    }  # fmt: skip
    assert first.reused == []

    block = jobs.run(model, "second", {"strategy": "angular", "calibration": calibration})
    assert [thing.kind for thing in block.reused] == ["layer_importance"]
    assert len(block.strategy.importance) == 5
    assert block.layers.dropped[1] - block.layers.dropped[0] == 1
    assert 0 not in block.layers.dropped


@pytest.mark.slow
def test_taylor_goes_by_the_tasks_loss_and_without_a_task_by_the_language_models(jobs: Jobs) -> None:
    model = tiny_model("bert", jobs.folder / "source", head="masked_lm")
    recovery = {"epochs": 1, "batch_size": 8, "learning_rate": 0.001}
    task = jobs.run(model, "task", {"strategy": "taylor"}, jobs.task, recovery=recovery)
    assert task.strategy.calibration.source == "task"
    assert task.strategy.calibration.rows == task.data.splits["train"].rows
    text = jobs.run(model, "text", {"strategy": "taylor", "calibration": {"dataset": str(jobs.text)}})
    for report in (task, text):
        importance = report.strategy.importance
        assert min(importance) > 0
        assert report.layers.dropped == sorted(sorted(range(1, 6), key=lambda layer: importance[layer])[:2])
    assert task.strategy.importance != text.strategy.importance


@pytest.mark.slow
def test_greedy_measures_any_model_and_its_order_serves_smaller_sizes(jobs: Jobs) -> None:
    model = tiny_model("distilbert", jobs.folder / "source", head="base")
    prune = {"strategy": "greedy", "calibration": {"dataset": str(jobs.text)}}
    three = jobs.run(model, "three", {**prune, "drop": 3})
    two = jobs.run(model, "two", {**prune, "drop": 2})
    assert [thing.kind for thing in two.reused] == ["layer_importance"]
    assert set(two.layers.dropped) < set(three.layers.dropped)
    assert 0 in two.layers.kept
    assert two.strategy.measure == "removal_step"


def test_taylor_without_any_loss_is_refused_with_what_would_do(jobs: Jobs) -> None:
    bare = tiny_model("bert", jobs.folder / "bare", head="base")
    error = jobs.refusal(bare, "text", {"strategy": "taylor", "calibration": {"dataset": str(jobs.text)}})
    assert (error.code, error.param) == ("validation_failed", "/prune/strategy")
    assert "BertModel has none; give a task" in error.message
    error = jobs.refusal(bare, "task", {"strategy": "taylor"}, jobs.task, recovery={"method": "none"})
    assert (error.code, error.param) == ("validation_failed", "/prune/strategy")
    assert "no head for the task" in error.message


def test_a_layer_that_gives_nan_fails_the_job_by_name(jobs: Jobs) -> None:
    from safetensors.numpy import load_file, save_file  # noqa: PLC0415

    folder = tiny_model("bert", jobs.folder / "source", head="base")
    weights = load_file(folder / "model.safetensors")
    weights["encoder.layer.2.output.dense.bias"][:] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    error = jobs.refusal(folder, "nan", {"strategy": "angular", "calibration": {"dataset": str(jobs.text)}})
    assert error.code == "activations_not_finite"
    assert "layer 2 (encoder.layer.2)" in error.message


@pytest.mark.parametrize(
    ("name", "text", "more", "words"),
    [
        ("a.txt", "", {}, "a.txt:1: the file has no texts"),
        ("a.txt", " \n\n", {}, "a.txt:1: the file has no texts"),
        ("a.jsonl", json.dumps({"body": "x"}) + "\n", {}, "a.jsonl:1: no column 'text'; the columns are: 'body'"),
        ("a.jsonl", json.dumps({"text": " "}) + "\n", {}, "a.jsonl:1: 'text' is empty"),
        ("a.csv", "body\nx\n", {"text_columns": ["bodi"]}, "did you mean 'body'"),
        ("a.txt", "x\n", {"text_columns": ["text"]}, "a TXT file has no columns"),
        ("a.pdf", "x\n", {}, "not a file of a known kind: .txt, .csv, .tsv, .json"),
    ],
)
def test_text_that_cannot_be_measured_on_is_refused_with_its_line(
    jobs: Jobs, name: str, text: str, more: dict[str, Any], words: str
) -> None:
    (jobs.folder / name).write_text(text)
    model = tiny_model("bert", jobs.folder / "source", head="base", layers=2)
    calibration = {"dataset": str(jobs.folder / name), **more}
    error = jobs.refusal(model, "text", {"strategy": "angular", "drop": 1, "calibration": calibration})
    assert error.code == "dataset_invalid"
    assert (error.param or "").startswith("/prune/calibration/")
    assert words in error.message
