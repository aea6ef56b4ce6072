"""Two real jobs with one baseline, on two real workers that share a database and an artifact store, and no cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api_schemas.jobs import Job, Status
from tests.support.events import queue
from tests.support.processes import eventually
from tests.support.tiny_models import tiny_model
from tests.support.worker_process import Site, site


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    rows = [f"{'a joy full of wit' if row % 2 else 'a dull and lifeless story'} {row},{row % 2}" for row in range(80)]
    (tmp_path / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    tiny_model("bert", tmp_path / "bert")
    with site(tmp_path, lease_seconds=10, model_roots=tmp_path, data_roots=tmp_path) as made:
        for number in range(2):
            made.start_worker(real=True, scratch_dir=tmp_path / f"scratch-{number}")
        yield made


def submit(here: Site, strategy: str, epochs: int) -> str:
    sent = {
        "model": str(here.folder / "bert"),
        "task": {"dataset": str(here.folder / "reviews.csv"), "text_columns": ["text"], "label_column": "label"},
        "prune": {"strategy": strategy, "drop": 2},
        "recovery": {"epochs": epochs, "batch_size": 8},
        "evaluation": {"latency": {"batch_sizes": []}},
    }
    job_id = queue(here.store, sent).id
    # Again and again, as the reaper does it: a busy worker may hold one wake-up in reserve.
    eventually(lambda: here.store.get(job_id).attempt or here.wake())
    return job_id


def reused(job: Job) -> dict[str, dict[str, Any]]:
    """By kind."""
    assert job.resolved is not None
    assert job.resolved is not None
    return {thing.kind: thing for thing in job.resolved.reused}


def texts(here: Site, job_id: str) -> list[str]:
    return [event.message for event in here.store.events(job_id, limit=1000)[0]]


def succeeded(here: Site, job_id: str) -> Job:
    eventually(lambda: here.store.get(job_id).status.terminal, seconds=120)
    job = here.store.get(job_id)
    assert job.status == Status.SUCCEEDED, job.error
    return job


@pytest.mark.long
@pytest.mark.slow
def test_two_jobs_that_start_together_train_their_baseline_once(here: Site) -> None:
    jobs = [succeeded(here, job_id) for job_id in [submit(here, name, 10) for name in ("top", "bottom")]]

    (maker,) = (job for job in jobs if "baseline" not in reused(job))
    (other,) = (job for job in jobs if "baseline" in reused(job))
    assert {"baseline", "baseline_scores"} <= {*reused(maker), *reused(other)}
    assert reused(other)["baseline"].seconds_saved > 0
    assert maker.worker != other.worker
    assert maker.usage is not None
    assert other.usage is not None
    assert maker.usage.training_steps == 2 * (other.usage.training_steps or 0)
    assert maker.result is not None
    assert other.result is not None
    assert maker.result.score_before == other.result.score_before


@pytest.mark.chaos
@pytest.mark.long
def test_when_the_maker_is_killed_half_way_the_other_finishes_the_baseline(here: Site) -> None:
    first = submit(here, "top", 60)
    eventually(lambda: (here.store.get(first).progress.step or 0) > 20, seconds=60)
    worker = here.store.get(first).worker or ""
    runner = next(found for found in here.workers if worker.endswith(f"-{found.process.pid}")).runner
    assert runner is not None
    runner.suspend()  # or it might be done before the other asks
    second = submit(here, "bottom", 60)
    waits = f"waiting for the baseline that {first} is making"
    eventually(lambda: waits in texts(here, second), seconds=60)
    assert here.store.get(first).stage == "baseline"
    runner.kill()

    other = succeeded(here, second)
    assert "baseline" not in reused(other), "it had to make it after all"
    again = succeeded(here, first)
    assert again.attempt == 2
    assert "baseline" in reused(again)
    assert again.result is not None
    assert other.result is not None
    assert again.result.score_before == other.result.score_before
