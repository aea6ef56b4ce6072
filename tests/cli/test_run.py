"""`layercut run`: the runner for people."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.support.serve_process import LAYERCUT, environment


def test_a_job_that_cannot_work_ends_with_one_and_says_why_in_json_lines(tmp_path: Path) -> None:
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"model": "a/b", "task": "sst2", "prune": {"strategy": "top", "drop": "many"}}))
    done = subprocess.run(
        [*LAYERCUT, "run", job, "--out", tmp_path / "out"],
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["type"] == "job.failed"
    assert last["data"]["error"]["param"] == "/prune/drop"


def test_what_only_a_service_does_is_refused(tmp_path: Path) -> None:
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"model": "a/b", "task": "none", "export": {"push_to": {"repo": "a/small"}}}))
    done = subprocess.run(
        [*LAYERCUT, "run", job, "--out", tmp_path / "out"],
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert json.loads(done.stdout.splitlines()[-1])["data"]["error"]["param"] == "/export/push_to"


def test_a_job_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    done = subprocess.run(
        [*LAYERCUT, "run", tmp_path / "nothing.json", "--out", tmp_path / "out"],
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "does not exist" in done.stderr
