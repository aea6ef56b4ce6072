"""A host without threads to give: no job is claimed, or the attempt given back, and nothing of a runner stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workers.sandbox.call_numbers import MACHINES

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.uname().machine not in MACHINES, reason="threads are refused by a filter of Linux"
)

PROGRAM = """
import os, signal, sys, threading
from pathlib import Path
from tests.support.no_threads import refuse_threads
from tests.support.supervisor_rig import FAKE_RUNNER, Rig, no_inputs
from workers.settings import WorkerSettings

ready = threading.Event()
def stage(claim, folder, stopped):
    if when == "in the attempt":  # in the attempt's own thread, which the filter binds
        os.kill(os.getpid(), signal.SIGUSR1)
        ready.wait(30)
    return no_inputs(claim, folder, stopped)

def refuse(*_):
    refuse_threads()
    ready.set()

when, data = sys.argv[1:]
signal.signal(signal.SIGUSR1, refuse)
settings = WorkerSettings(data_dir=Path(data), kill_grace_seconds=5)
rig = Rig(settings, FAKE_RUNNER, stage, pause=lambda reason: print("paused:", reason))
job = rig.submit("want:a", "linger", max_attempts=1 if when == "before the attempt" else 2)
if when != "before the runner":
    rig.supervisor.prepare()
if when != "in the attempt":
    refuse()
try:
    rig.supervisor.work()
except OSError as error:
    print("raised:", error.strerror)
rig.close()
found = rig.store.get(job)
print("status:", found.status)
print("attempt:", found.attempt)
print("reason:", found.status_reason)
print("folders:", rig.scratch())
try:
    print("children:", os.waitpid(-1, os.WNOHANG))
except ChildProcessError:
    print("children: none")
"""


def outcome(when: str, folder: Path) -> dict[str, str]:
    """What is left of a job, and of a worker whose host had threads until ``when``."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, when, str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(line.split(": ", 1) for line in done.stdout.splitlines())


NOTHING_LEFT = {"status": "queued", "folders": "[]", "children": "none"}


def test_without_a_runner_no_job_is_claimed(tmp_path: Path) -> None:
    said = outcome("before the runner", tmp_path)
    assert "no more threads" in said.pop("paused")
    assert said == {**NOTHING_LEFT, "attempt": "0", "reason": "None"}


@pytest.mark.parametrize("when", ["before the attempt", "in the attempt"])
def test_the_job_is_given_back_and_says_why(when: str, tmp_path: Path) -> None:
    """Of one attempt at most, where its runner did not have the job yet: that is no loss."""
    said = outcome(when, tmp_path)
    reason = said.pop("reason")
    assert "could not see the job through" in reason
    assert "no more threads" in reason
    assert "no more threads" in said.pop("raised")
    said.pop("paused", None)
    assert said == {**NOTHING_LEFT, "attempt": "1"}
