"""An attempt that gets no further is stopped: what counts is work, not words."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from api_schemas.events import EventType, LogData, NewEvent, StageData, new_event
from api_schemas.jobs import Progress, Stage, Status
from sources.staging import Staged
from store.jobs import Claim
from tests.support.events import say
from tests.support.processes import eventually, gone
from tests.support.supervisor_rig import FAKE_RUNNER, Rig, no_inputs
from workers.settings import WorkerSettings
from workers.supervision.watchdog import Watchdog

STOPPED = f"die:{signal.SIGSTOP.value}"
STEP = say(EventType.PROGRESS, "50%", fraction=0.5, step=3, total_steps=6)


@pytest.mark.parametrize("act", [STOPPED, pytest.param("linger", marks=pytest.mark.slow)])
def test_a_runner_that_stands_still_is_killed_and_the_job_is_tried_again(rig: Rig, tmp_path: Path, act: str) -> None:
    # So long that a runner on a busy machine has begun its stage by then.
    rig.settings.no_progress_seconds = 3
    pid = tmp_path / "pid"
    job = rig.run(f"pid:{pid}", "stage:baseline", "progress:0.5", act, max_attempts=2)
    assert job.status == Status.QUEUED
    assert "stalled: the runner has told of no progress in the stage baseline since" in (job.status_reason or "")
    assert gone(int(pid.read_text()))

    assert rig.supervisor.work()
    job = rig.store.get(job.id)
    assert job.error is not None
    assert (job.status, job.error.code, job.error.retryable) == (Status.FAILED, "stalled", True)


def test_one_that_only_talks_stands_still_too(rig: Rig) -> None:
    rig.settings.no_progress_seconds = 0.6
    job = rig.run("stage:baseline", "chatter:0.1", max_attempts=1)
    assert job.error is not None
    assert job.error.code == "stalled"


def test_staging_is_no_standstill(worker_settings: WorkerSettings, tmp_path: Path) -> None:
    worker_settings.no_progress_seconds = 0.3
    begun, released = threading.Event(), threading.Event()

    def slow(claim: Claim, folder: Path, stopped: Callable[[], bool]) -> Staged:
        begun.set()
        released.wait(20)
        return no_inputs(claim, folder, stopped)

    rig = Rig(worker_settings, FAKE_RUNNER, slow)
    job_id = rig.submit("succeed")
    thread = rig.start()
    assert begun.wait(20)
    thread.join(1.0)
    released.set()
    thread.join(20)
    assert rig.store.get(job_id).status == Status.SUCCEEDED
    rig.close()


def test_nor_is_waiting_for_what_another_job_makes(worker_settings: WorkerSettings, tmp_path: Path) -> None:
    impatient = worker_settings.model_copy(update={"no_progress_seconds": 1.0})
    makes, waits = (Rig(settings, FAKE_RUNNER, no_inputs) for settings in (worker_settings, impatient))
    maker = makes.submit("want:a", f"touch:{tmp_path}/made", f"wait:{tmp_path}/go", "fill:weights", "made:a", "succeed")
    first = makes.start()
    eventually((tmp_path / "made").exists)
    waiter = waits.submit("want:a", "succeed")
    second = waits.start()
    eventually(lambda: "waiting for the baseline" in waits.texts(waiter))
    second.join(1.5)
    (tmp_path / "go").touch()
    first.join(20)
    second.join(20)
    assert [waits.store.get(job_id).status for job_id in (maker, waiter)] == [Status.SUCCEEDED] * 2
    waits.close()
    makes.close()


@pytest.fixture
def watchdog(monkeypatch: pytest.MonkeyPatch) -> Watchdog:
    """Of ten seconds, begun at 100; the clock stands at 105 then."""
    now = iter([100.0, 105.0, 106.0])
    # Not the clock of all: other threads ask it too.
    monkeypatch.setattr("workers.supervision.watchdog.time", SimpleNamespace(monotonic=lambda: next(now)))
    made = Watchdog(10)
    assert made.deadline(0.0) == math.inf, "it has no job yet"
    made.begin()
    return made


@pytest.mark.parametrize(
    ("told", "deadline"),
    [
        ([STEP], 115.0),
        ([STEP, STEP], 115.0),
        ([STEP, STEP.model_copy(update={"data": Progress(fraction=0.5, step=4, total_steps=6)})], 116.0),
        ([new_event(EventType.STAGE, "baseline", StageData(stage=Stage.BASELINE))], 115.0),
        ([say(EventType.METRIC, "f1", name="f1", value=1.0, side="before")], 115.0),
        ([new_event(EventType.LOG, "checkpoint", LogData(checkpoint="baseline-1-000000010"))], 115.0),
        ([new_event(EventType.LOG, "still here", LogData())], 110.0),
    ],
)
def test_what_counts_as_progress(watchdog: Watchdog, told: list[NewEvent], deadline: float) -> None:
    for event in told:
        watchdog.heard(event)
    assert watchdog.deadline(0.0) == deadline
    assert watchdog.deadline(math.inf) == math.inf, "while it waits for an answer of ours"
    assert watchdog.deadline(200.0) == 210.0, "and from the answer on it has all of its time"
