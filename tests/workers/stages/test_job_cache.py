"""Work that jobs share, in this process: what is reused, that it changes no bit, and what may not be reused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from api_schemas.events import EventType, NewEvent
from api_schemas.reports import Report
from api_schemas.requests import JobRequest
from api_schemas.resolved import ResolvedRequest
from sources.fingerprint import FileHashes
from tests.support.tiny_models import tiny_model
from workers.cache.folder import FolderCache
from workers.pipeline import run_pipeline
from workers.settings import WorkerSettings
from workers.stages import fingerprints
from workers.stages.job_cache import JobCache
from workers.stages.progress import ProgressReporter
from workers.stages.resolve import resolve_job

BASELINE_KINDS = {"baseline", "baseline_scores"}


class Jobs:
    """Jobs on one model and one table, with one cache for all of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = WorkerSettings(data_dir=folder, model_roots=[folder], data_roots=[folder], device="cpu")
        self.cache = FolderCache(folder / "cache", 1 << 30)
        self.model = tiny_model("bert", folder / "source", head="base")
        self.table = folder / "reviews.csv"
        self.write(60)
        self._count = 0

    def write(self, rows: int) -> None:
        lines = [
            f"{'a joy full of wit' if row % 2 else 'a dull and lifeless story'} {row},{row % 2}" for row in range(rows)
        ]
        self.table.write_text("\n".join(["text,label", *lines]) + "\n", encoding="utf-8")

    def request(self, **more: Any) -> JobRequest:
        baseline = {"baseline_epochs": 2, "baseline_learning_rate": 0.003}
        recovery = {"epochs": 2, "learning_rate": 0.003, "batch_size": 8, **baseline, **more.pop("recovery", {})}
        body = {
            "model": str(self.model),
            "task": {"dataset": str(self.table), "text_columns": ["text"], "label_column": "label"},
            "evaluation": {"latency": {"batch_sizes": [], "sequence_lengths": []}},
            "recovery": recovery,
            **more,
        }
        return JobRequest.model_validate(body)

    def run(self, cache: FolderCache | None = None, **more: Any) -> Done:
        self._count += 1
        out = self.folder / f"out-{self._count}"
        out.mkdir()
        events: list[NewEvent] = []
        run_pipeline(
            self.request(**more), job_id="job_x", out=out, settings=self.settings, tell=events.append,
            shared=cache or self.cache,
        )  # fmt: skip
        return Done(events, out / "artifact")

    def baseline(self, **more: Any) -> str:
        """The fingerprint of the baseline that such a job wants."""
        progress, request = ProgressReporter(lambda _: None), self.request(**more)
        job = resolve_job(request, None, self.settings, JobCache(self.cache, progress), progress)
        return fingerprints.baseline(job, request.seed)


class Done:
    def __init__(self, events: list[NewEvent], folder: Path) -> None:
        self.events = events
        self.folder = folder
        self.report = Report.model_validate_json((folder / "report.json").read_text())
        self.reused = {thing.kind for thing in self.report.reused}
        self.steps = events[-1].data.usage.training_steps

    @property
    def resolved(self) -> ResolvedRequest:
        """As the store keeps it: the last that was told."""
        return [event.data for event in self.events if event.type == EventType.RESOLVED][-1]


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path)


@pytest.mark.long
@pytest.mark.slow
def test_another_strategy_reuses_the_baseline_and_gets_the_bits_it_would_have_made(jobs: Jobs) -> None:
    first = jobs.run(prune={"strategy": "top", "drop": 2})
    assert first.reused == set()
    assert first.resolved.reused == []
    second = jobs.run(prune={"strategy": "contribution", "drop": 3})
    alone = jobs.run(FolderCache(jobs.folder / "empty", 1 << 30), prune={"strategy": "contribution", "drop": 3})

    assert second.reused == {*BASELINE_KINDS, "tokenized_data"}
    assert alone.reused == set()
    ours, theirs = (load_file(done.folder / "model.safetensors") for done in (second, alone))
    assert {name: tensor.numpy().tobytes() for name, tensor in ours.items()} == {
        name: tensor.numpy().tobytes() for name, tensor in theirs.items()
    }
    same = ("before", "after", "layers", "retention", "retention_interval", "gain_interval", "verdict", "strategy")
    for name in same:
        assert getattr(second.report, name) == getattr(alone.report, name), name
    assert second.report.training["baseline"].steps == alone.report.training["baseline"].steps
    assert second.steps == alone.steps / 2, "what was not trained is not counted"

    assert {thing.kind for thing in second.resolved.reused} == second.reused
    # Milliseconds: a tiny thing may take none.
    saved = {thing.kind: thing.seconds_saved for thing in second.report.reused}
    assert saved["baseline"] > 0
    assert min(saved.values()) >= 0
    told = [event.message for event in second.events if event.message.startswith("reused: ")]
    assert len(told) == len(set(told)) == len(second.report.reused)
    assert any(message.startswith("reused: baseline ") for message in told)
    fractions = [event.data.fraction for event in second.events if event.type == EventType.PROGRESS]
    assert fractions == sorted(fractions)


@pytest.mark.slow
def test_logits_are_asked_once_where_nothing_else_is_learnt_from(jobs: Jobs) -> None:
    logits = {"hidden_weight": 0, "noise": 0}
    jobs.run(recovery=logits)
    assert "baseline_logits" in jobs.run(recovery={**logits, "learning_rate": 0.001}).reused


@pytest.mark.slow
@pytest.mark.long
def test_the_comparison_of_a_finetuning_is_the_same_baseline(jobs: Jobs) -> None:
    jobs.run()
    finetuned = jobs.run(recovery={"method": "finetune"}, prune={"strategy": "contribution", "drop": 2})
    assert finetuned.reused == {"tokenized_data", "baseline", "baseline_scores"}
    distilled = jobs.run(prune={"strategy": "contribution", "drop": 2})
    assert "layer_importance" not in distilled.reused, "one measured the source, the other the baseline"
    again = jobs.run(recovery={"method": "finetune"}, prune={"strategy": "contribution", "drop": 2})
    assert "layer_importance" in again.reused
    assert again.report.strategy == finetuned.report.strategy


def _other_rows(jobs: Jobs) -> dict[str, Any]:
    jobs.write(62)
    return {}


def _other_weights(jobs: Jobs) -> dict[str, Any]:
    shutil.rmtree(jobs.model)
    tiny_model("bert", jobs.model, head="masked_lm")
    return {}


def _other_vocabulary(jobs: Jobs) -> dict[str, Any]:
    path = jobs.model / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": 60}))
    return {}


CHANGES: dict[str, Callable[[Jobs], dict[str, Any]]] = {
    "rate": lambda _: {"recovery": {"baseline_learning_rate": 0.0030001}},
    "epochs": lambda _: {"recovery": {"baseline_epochs": 2.5}},
    "decay": lambda _: {"recovery": {"weight_decay": 0.01}},
    "precision": lambda _: {"recovery": {"precision": "bf16"}},
    "length": lambda _: {"recovery": {"max_length": 12}},
    "seed": lambda _: {"seed": 7},
    "rows": _other_rows,
    "weights": _other_weights,
    "tokenizer": _other_vocabulary,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_job_with_another_baseline_makes_its_own(jobs: Jobs, change: str) -> None:
    fp32 = {"precision": "fp32"}
    before = jobs.baseline(recovery=fp32)
    more = CHANGES[change](jobs)
    assert jobs.baseline(**{**more, "recovery": {**fp32, **more.get("recovery", {})}}) != before


SAME: dict[str, dict[str, Any]] = {
    "strategy": {"prune": {"strategy": "bottom", "drop": 1}},
    "method": {"recovery": {"method": "finetune"}},
    "what only distilling reads": {
        "recovery": {
            "temperature": 3.0,
            "label_weight": 0.5,
            "hidden_weight": 2.0,
            "noise": 0,
            "epochs": 9,
            "learning_rate": 1e-3,
        }
    },
    "batches of its own": {"recovery": {"batch_size": 16, "baseline_batch_size": 8}},
    "export": {"export": {"dtype": "float16"}},
    "names": {"suffix": "x", "metadata": {"a": "b"}, "priority": 3},
}


@pytest.mark.parametrize("change", SAME)
def test_what_does_not_change_the_baseline_shares_it(jobs: Jobs, change: str) -> None:
    assert jobs.baseline(**SAME[change]) == jobs.baseline()


def test_a_copy_of_the_model_and_the_data_elsewhere_is_the_same(jobs: Jobs) -> None:
    before = jobs.baseline()
    jobs.model = jobs.model.rename(jobs.folder / "moved")
    jobs.table = jobs.table.rename(jobs.folder / "moved.csv")
    assert jobs.baseline() == before


def test_hashes_of_large_files_are_remembered_until_they_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sources.fingerprint.SETTLED_SECONDS", -1.0)
    monkeypatch.setattr("sources.fingerprint.REMEMBERED_BYTES", 10)
    hashes, path = FileHashes(tmp_path / "hashes"), tmp_path / "model.safetensors"
    path.write_bytes(np.arange(1000).tobytes())
    first = hashes.of(path)
    assert FileHashes(tmp_path / "hashes", stopped=lambda: pytest.fail("it was read again")).of(path) == first
    path.write_bytes(np.arange(1, 1001).tobytes())
    second = hashes.of(path)
    assert second != first
    link = tmp_path / "link.safetensors"
    link.symlink_to(path)
    assert hashes.of(link) == second
