"""Lines for programs: whoever says them, in whichever process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import eventually
from tests.support.serve_process import served

PROGRAM = """
import logging, threading, warnings
import structlog
from telemetry.logs import bound_process, configure_logs
configure_logs("WARNING")
logging.getLogger("quiet").info("not this")
with bound_process(job_id="job_1", attempt=2):
    structlog.get_logger("ours").warning("of_a_job", number=7)
    thread = threading.Thread(target=lambda: logging.getLogger("theirs").warning("from %s", "a thread"))
    thread.start(); thread.join()
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("opentelemetry.sdk.export").exception("the receiver is away")
warnings.warn("careful")
thread = threading.Thread(target=lambda: 1 / 0, name="divider")
thread.start(); thread.join()
raise ValueError("nobody\\ncaught")
"""


def test_each_line_is_one_object_whoever_says_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["logger"] for line in lines] == [
        "ours", "theirs", "opentelemetry.sdk.export", "py.warnings", "layercut", "layercut"
    ]  # fmt: skip
    ours, theirs, receiver, *others = lines
    assert (ours["event"], ours["number"], ours["job_id"], ours["attempt"]) == ("of_a_job", 7, "job_1", 2)
    assert (theirs["event"], theirs["job_id"], theirs["level"]) == ("from a thread", "job_1", "warning")
    assert receiver["event"] == "the receiver is away"
    assert "exception" not in receiver, "it is said often, and is no fault of ours"
    assert not any("job_id" in line for line in others)
    assert "thread divider ended with ZeroDivisionError" in others[1]["event"]
    assert "nobody\ncaught" in others[2]["exception"]


@pytest.mark.slow
def test_the_whole_service_says_objects(tmp_path: Path) -> None:
    """Gateway, worker and the real runner; their parent, `layercut serve`, speaks to a person."""
    with served(tmp_path) as server:
        eventually(lambda: "a runner waits for a job" in server.log.read_text(), seconds=120)
        assert server.stop() == 0
        # Celery speaks to stdout when it is stopped, which is in the same file here.
        people = ("layercut: ", "worker: Warm shutdown")
        lines = [line for line in server.log.read_text().splitlines() if line and not line.startswith(people)]
    assert len(lines) > 5
    assert {"layercut.runner", "uvicorn.error"} <= {json.loads(line)["logger"] for line in lines}
