"""Speed is measured once for models of the same shapes, and never taken from what could not have been measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from api_schemas.reports import Report
from api_schemas.requests import JobRequest
from tests.support.tiny_models import tiny_model
from workers.cache.folder import FolderCache
from workers.pipeline import run_pipeline
from workers.settings import WorkerSettings
from workers.stages import fingerprints


class Jobs:
    """Jobs that drop layers of one model and time it, with one cache for all of them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        self.settings = WorkerSettings(data_dir=folder, model_roots=[folder], device="cpu")
        self.cache = FolderCache(folder / "cache", 1 << 30)
        self.model = tiny_model("bert", folder / "source", head="base")

    def run(self, strategy: str, drop: int, tokens: int = 8) -> Report:
        self.count += 1
        out = self.folder / f"out-{self.count}"
        out.mkdir()
        body: dict[str, Any] = {
            "model": str(self.model),
            "task": "none",
            "prune": {"strategy": strategy, "drop": drop},
            "recovery": {"method": "none"},
            "evaluation": {"latency": {"batch_sizes": [1], "sequence_lengths": [tokens]}},
        }
        run_pipeline(
            JobRequest.model_validate(body), job_id="job_x", out=out, settings=self.settings,
            tell=lambda _: None, shared=self.cache,
        )  # fmt: skip
        return Report.model_validate_json((out / "artifact" / "report.json").read_text())


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path)


def reused(report: Report) -> list[str]:
    return [thing.kind for thing in report.reused]


@pytest.mark.slow
def test_what_has_the_same_shape_is_timed_once_a_day_and_what_has_not_anew(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, same = jobs.run("top", 1), jobs.run("bottom", 1)
    assert (reused(first), reused(same)) == ([], ["latency"])
    assert (same.before.latency, same.after.latency, same.speedup) == (
        first.before.latency, first.after.latency, first.speedup,
    )  # fmt: skip
    assert reused(jobs.run("top", 2)) == [], "another depth"
    assert reused(jobs.run("top", 1, tokens=16)) == [], "other texts"
    monkeypatch.setattr(fingerprints, "today", lambda: "2001-01-01")
    assert reused(jobs.run("top", 1)) == [], "another day"


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrong", [{"p50_ms": 0.0}, {"p95_ms": 1e-9}, {"runs": 0}, {"batch_size": 2}, {"examples_per_second": 1e9}, None]
)
def test_times_that_cannot_be_are_measured_anew(jobs: Jobs, wrong: dict[str, float] | None) -> None:
    jobs.run("top", 1)
    (file,) = jobs.cache.root.glob("latency/*/files/latency.json")
    told = json.loads(file.read_text())
    told[0] = [told[0][0] | wrong] if wrong else []
    file.write_text(json.dumps(told))

    report = jobs.run("bottom", 1)
    assert reused(report) == []
    (one,) = report.before.latency
    assert 0 < one.p50_ms <= one.p95_ms
    assert (one.batch_size, one.examples_per_second) == (1, pytest.approx(1000 / one.p50_ms))
