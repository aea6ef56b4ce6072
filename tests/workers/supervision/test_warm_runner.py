"""The runner that waits for the next job, and the folders that runners work in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from api_schemas.jobs import Status
from store.jobs import Claim
from tests.support.processes import eventually, gone
from tests.support.supervisor_rig import Rig, no_inputs
from workers.settings import WorkerSettings
from workers.supervision.scratch import Scratch, sweep

KILLED_WITH_A_FOLDER = """
import os, pathlib, signal, sys
from workers.supervision.scratch import Scratch
(Scratch(pathlib.Path(sys.argv[1])).folder / "weights").write_text("x")
os.kill(os.getpid(), signal.SIGKILL)
"""


def waiting_pid(rig: Rig) -> int:
    waiting = rig.supervisor._warm._waiting
    assert waiting is not None
    return waiting.pid


def test_the_waiting_runner_does_the_job_and_another_waits_after_it(rig: Rig, tmp_path: Path) -> None:
    rig.supervisor.prepare()
    first = waiting_pid(rig)
    rig.run(f"pid:{tmp_path}/pid", "succeed")

    assert int((tmp_path / "pid").read_text()) == first
    assert waiting_pid(rig) != first
    assert not gone(waiting_pid(rig))


def test_while_a_job_is_verified_the_next_runner_is_already_starting(rig: Rig, tmp_path: Path) -> None:
    rig.supervisor.prepare()
    first, warm = waiting_pid(rig), rig.supervisor._warm
    rig.submit("stage:verifying", "hang")
    working = threading.Thread(target=rig.supervisor.work)
    working.start()
    try:
        eventually(lambda: warm._waiting is not None and warm._waiting.pid != first)
        next_one = waiting_pid(rig)
    finally:
        rig.supervisor.stop()
        working.join()
    assert not gone(next_one)
    rig.supervisor.stopping = False
    rig.supervisor.prepare()
    assert waiting_pid(rig) == next_one, "and it is the one that takes the next job"


def test_one_that_died_while_it_waited_is_replaced_and_costs_no_attempt(rig: Rig, tmp_path: Path) -> None:
    rig.supervisor.prepare()
    first = waiting_pid(rig)
    os.kill(first, signal.SIGKILL)
    eventually(lambda: gone(first))
    job = rig.run(f"pid:{tmp_path}/pid", "succeed")

    assert (job.status, job.attempt) == (Status.SUCCEEDED, 1)
    assert int((tmp_path / "pid").read_text()) != first


def test_it_leaves_with_its_supervisor_and_leaves_nothing(rig: Rig) -> None:
    rig.supervisor.prepare()
    pid = waiting_pid(rig)
    rig.supervisor.close()

    assert gone(pid)
    assert list(rig.settings.scratch_root.iterdir()) == []


def test_a_worker_that_cannot_start_runners_takes_no_job_and_says_why(
    rig: Rig, worker_settings: WorkerSettings
) -> None:
    told: list[str | None] = []
    broken = Rig(worker_settings, ["/does/not/exist"], no_inputs, pause=told.append)
    job_id = rig.submit("succeed", max_attempts=1)
    assert [broken.supervisor.work() for _ in range(3)] == [False] * 3
    broken.close()

    job = rig.store.get(job_id)
    assert (job.status, job.attempt) == (Status.QUEUED, 0)
    assert told == ["a runner cannot be started: No such file or directory"]
    assert rig.scratch() == []
    assert rig.supervisor.work()
    assert rig.store.get(job_id).status == Status.SUCCEEDED, "by a worker that is well"


def test_a_runner_that_cannot_be_started_after_the_claim_costs_no_attempt(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.supervisor.prepare()
    claim = rig.store.claim

    def dies_meanwhile(*given: Any, **named: Any) -> Claim | None:
        claimed = claim(*given, **named)
        os.kill(waiting_pid(rig), signal.SIGKILL)
        eventually(lambda: gone(waiting_pid(rig)))
        rig.supervisor._warm._command = ["/does/not/exist"]
        return claimed

    monkeypatch.setattr(rig.store, "claim", dies_meanwhile)
    job_id = rig.submit("succeed", max_attempts=1)
    with pytest.raises(FileNotFoundError):
        rig.supervisor.work()

    job = rig.store.get(job_id)
    assert job.status == Status.QUEUED
    assert "could not start a runner" in (job.status_reason or "")
    assert rig.events(job_id)[-1].data.attempts_left == 1


def test_only_folders_of_the_dead_are_swept(tmp_path: Path) -> None:
    mine = Scratch(tmp_path)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_WITH_A_FOLDER, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    sweep(tmp_path)

    assert list(tmp_path.iterdir()) == [mine.folder]
    mine.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_killed_workers_tried_their_sandbox_in_is_swept(tmp_path: Path) -> None:
    old, new = tmp_path / "probe-old", tmp_path / "probe-new"
    for folder in (old, new):
        (folder / "own").mkdir(parents=True)
    os.utime(old, (0, 0))
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [new]
