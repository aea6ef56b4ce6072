"""Real runner processes, killed with no warning and run again: the exported weights are those of a run left alone."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.killed_jobs import STEPS, Job, Line, messages, never


def at_step(number: int) -> Callable[[Line], bool]:
    """After so many steps of the whole job, the baseline's first."""
    stage = "baseline"

    def stop(line: Line) -> bool:
        nonlocal stage
        stage = line["data"].get("stage", stage)
        done = line["data"].get("step", 0) + (STEPS if stage == "recovering" else 0)
        return line["type"] == "job.progress" and stage in ("baseline", "recovering") and done >= number

    return stop


def kill_and_compare(folder: Path, kills: int, **evaluation: Any) -> list[Line]:
    job, draw = Job(folder, **evaluation), random.Random(20)
    code, _ = job.run("whole", 1, never, signal.SIGKILL)
    assert code == 0
    told: list[Line] = []
    attempts = 0
    for part in range(kills):  # one in each part of the way, at a random step of it
        step = draw.randrange(max(1, part * 2 * STEPS // kills), (part + 1) * 2 * STEPS // kills)
        attempts += 1
        code, lines = job.run("cut", attempts, at_step(step), signal.SIGKILL)
        assert code == -signal.SIGKILL, f"it was to be killed at step {step}"
        told += lines
    code, lines = job.run("cut", attempts + 1, never, signal.SIGKILL)
    assert code == 0
    assert job.weights("cut", attempts + 1) == job.weights("whole", 1)
    return [*told, *lines]


@pytest.mark.slow
@pytest.mark.long
def test_killed_twice_it_delivers_the_same_bytes(tmp_path: Path) -> None:
    told = messages(kill_and_compare(tmp_path, 2))
    assert "resumed at step" in told
    assert "reused: baseline " in told


@pytest.mark.chaos
@pytest.mark.long
def test_killed_five_times_it_delivers_the_same_bytes(tmp_path: Path) -> None:
    assert messages(kill_and_compare(tmp_path, 5)).count("resumed at step") >= 3


@pytest.mark.long
@pytest.mark.slow
def test_sigterm_leaves_a_checkpoint_and_no_ending(tmp_path: Path) -> None:
    job = Job(tmp_path)
    code, told = job.run("cut", 1, at_step(STEPS // 2), signal.SIGTERM)
    assert code == 128 + signal.SIGTERM
    assert told[-1]["message"].startswith("checkpoint at step")
    code, again = job.run("cut", 2, never, signal.SIGTERM)
    assert code == 0
    done = told[-1]["message"].rpartition(" ")[2]
    assert f"resumed at step {done} of attempt 1" in messages(again)
