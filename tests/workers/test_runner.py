"""The runner as a program, up to where the pipeline begins."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sources.inputs import Inputs
from workers.protocol import READY, Handover, read_event

RUNNER = [sys.executable, "-P", "-m", "workers.runner"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}


@contextmanager
def waiting() -> Iterator[subprocess.Popen[str]]:
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [*RUNNER, "--wait", str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
    )
    theirs.close()
    with ours, process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == READY
        yield process


def test_a_faulty_job_file_fails_with_one_event_and_without_loading_torch(tmp_path: Path) -> None:
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"model": "a/b", "task": "sst2", "prune": {"strategy": "tops"}}))
    code = (
        "import sys; from workers.runner import main; code = main(); sys.exit(99 if 'torch' in sys.modules else code)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, job, "--out", tmp_path / "out"],
        env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    event = read_event(line)
    assert event is not None
    assert event.data.error.code == "unknown_strategy"
    assert "did you mean" in event.message


@pytest.mark.slow
def test_a_waiting_runner_leaves_when_its_supervisor_is_gone() -> None:
    with waiting() as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0


def test_a_waiting_runner_does_the_job_it_is_handed_and_names_the_stage_that_failed(tmp_path: Path) -> None:
    job = tmp_path / "job.json"
    request = {"model": str(tmp_path / "nowhere"), "task": "none"}
    job.write_text(json.dumps({"id": "job_1", "request": request, "resolved": None}))
    with waiting() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        inputs = Inputs(folder=tmp_path / "inputs")
        handover = Handover(job=job, out=tmp_path / "out", inputs=inputs, notes=tmp_path / "notes")
        process.stdin.write(handover.model_dump_json() + "\n")
        process.stdin.flush()
        events = [read_event(line) for line in process.stdout]
        assert process.wait(30) == 1

    last = events[-1]
    assert None not in events
    assert last is not None
    assert last.data.error.code == "model_invalid"
    assert last.data.error.stage == "resolving"
