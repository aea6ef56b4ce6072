"""A host without threads to give: the attempt is given back with the reason, and nothing of its runner stays."""

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
rig = Rig(WorkerSettings(data_dir=Path(data), kill_grace_seconds=5), FAKE_RUNNER, stage)
job = rig.submit("want:a", "linger")
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
print("reason:", found.status_reason)
print("folders:", rig.scratch())
try:
    print("children:", os.waitpid(-1, os.WNOHANG))
except ChildProcessError:
    print("children: none")
"""


@pytest.mark.parametrize(
    ("when", "what"),
    [
        ("before the runner", "could not start a runner"),
        ("before the attempt", "could not see the job through"),
        ("in the attempt", "could not see the job through"),
    ],
)
def test_the_job_is_given_back_and_says_why(when: str, what: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, when, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    reason = said.pop("reason")
    assert what in reason
    assert "no more threads" in reason
    assert "no more threads" in said.pop("raised")
    assert said == {"status": "queued", "folders": "[]", "children": "none"}
