"""What is claimed of a host's sandbox is what was seen there; and what a setting asks for is done or refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workers.sandbox.sandbox import Sandbox, Unconfined
from workers.settings import WorkerSettings

NO_LANDLOCK = """
import logging, os, sys
from pathlib import Path
logging.basicConfig(level=logging.WARNING, format="%(message)s")
from workers.sandbox import privileges, seccomp
# Made so for this process and what it starts: a kernel without Landlock answers in the same way.
privileges.forbid_new_privileges()
refused = {"landlock_create_ruleset": [(seccomp.RETURN, 0, 0, seccomp.REFUSED)]}
seccomp.enforce(seccomp.instructions(os.uname().machine, refused))
from workers.sandbox.sandbox import Sandbox
from workers.settings import WorkerSettings
found = Sandbox.of(WorkerSettings(data_dir=Path(sys.argv[1]), sandbox=sys.argv[2]))
print(found.report.model_dump_json())
"""


def by_name(sandbox: Sandbox) -> dict[str, bool]:
    return {measure.name: measure.on for measure in sandbox.report.measures}


def on_older_kernel(tmp_path: Path, mode: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", NO_LANDLOCK, str(tmp_path), mode],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_this_host_shuts_files_and_network_and_what_it_claims_it_saw(sandbox: Sandbox) -> None:
    on = by_name(sandbox)
    assert on["files"]
    assert on["network"]
    assert on["system_calls"]
    assert sandbox.complete
    assert all(measure.detail for measure in sandbox.report.measures)


def test_without_landlock_a_worker_says_so_and_is_not_complete(tmp_path: Path) -> None:
    done = on_older_kernel(tmp_path, "auto")
    assert done.returncode == 0, done.stderr
    assert '"complete":false' in done.stdout
    assert "sandbox: files is OFF" in done.stderr
    assert "reading /etc/passwd" in done.stderr
    assert "network is OFF" not in done.stderr


def test_where_it_is_required_a_worker_does_not_start_without(tmp_path: Path) -> None:
    done = on_older_kernel(tmp_path, "required")
    assert done.returncode != 0
    assert "LAYERCUT_SANDBOX=required, and this host cannot shut files and network: files: " in done.stderr


def test_switched_off_it_locks_nothing_and_says_so(tmp_path: Path) -> None:
    sandbox = Sandbox.of(WorkerSettings(data_dir=tmp_path, sandbox="off"))
    assert not any(by_name(sandbox).values())
    assert not sandbox.complete
    assert {measure.detail for measure in sandbox.report.measures} == {"LAYERCUT_SANDBOX=off"}
    (tmp_path / "own").mkdir()
    sandbox.prepare(tmp_path / "own")
    assert sandbox.launch(["python"], tmp_path / "own").command == ["python"]


def test_a_worker_of_another_system_is_told_that_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(Unconfined, match="only for Linux"):
        Sandbox.of(WorkerSettings(data_dir=tmp_path, sandbox="required"))
