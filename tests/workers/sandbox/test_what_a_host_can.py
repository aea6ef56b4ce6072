"""What is claimed of a host's sandbox is what was seen there; and what a setting asks for is done or refused."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.confined import Confined
from tests.support.processes import eventually, gone
from workers.sandbox.groups import Groups
from workers.sandbox.sandbox import LAUNCHER, Sandbox, Unconfined
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


#: Tries what the host can, as a worker does when it starts, and says who does that.
TRYING = """
import json, subprocess, sys
spec = json.dumps({"probe": True, "measures": [], "files": {"open_files": []}})
child = subprocess.Popen([sys.executable, "-I", "-S", sys.argv[1], spec, "sleep", "600"], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
child.wait()
"""


def test_what_is_tried_ends_with_the_worker_that_tries_it() -> None:
    """Also where it was stopped just then."""
    with subprocess.Popen([sys.executable, "-c", TRYING, str(LAUNCHER)], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        tried = int(worker.stdout.readline())
        os.kill(tried, signal.SIGSTOP)
        worker.kill()
    try:
        eventually(lambda: gone(tried))
    finally:
        with suppress(ProcessLookupError):
            os.kill(tried, signal.SIGKILL)


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


TOLD = """
import logging, sys
from pathlib import Path
logging.basicConfig(level=logging.INFO, format="%(message)s")
from workers.sandbox.sandbox import Sandbox
from workers.settings import WorkerSettings
Sandbox.of(WorkerSettings(data_dir=Path(sys.argv[1]))).close()
"""
FEW_USERS = ["unshare", "--user", "--map-root-user"]
NO_GROUPS = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o ro none /sys/fs/cgroup && exec "$@"', "sh"]


def told(within: list[str], tmp_path: Path) -> str:
    """What a worker logs of its sandbox in a container that is made by ``within``."""
    try:
        subprocess.run([*within, "true"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no such container can be made here: {error}")
    done = subprocess.run(
        [*within, sys.executable, "-c", TOLD, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_where_a_container_knows_too_few_users_the_rest_is_on(sandbox: Sandbox, tmp_path: Path) -> None:
    said = told(FEW_USERS, tmp_path)
    assert "sandbox: own_user is OFF: no folder can be given to user" in said
    for name in ("files", "network", "other_processes", "system_calls", "limits"):
        assert f"sandbox: {name} is on" in said


def test_where_control_groups_cannot_be_written_the_other_limits_are_on(sandbox: Sandbox, tmp_path: Path) -> None:
    said = told(NO_GROUPS, tmp_path)
    assert "sandbox: limits is on: memory_bytes" in said
    assert "no control group for pids" in said
    assert "sandbox: files is on" in said


@pytest.mark.parametrize("made", [OSError(errno.EROFS, "Read-only file system"), (Path("/no/such/group"),)])
def test_where_they_can_be_made_and_not_used_the_other_limits_are_on(
    made: OSError | tuple[Path, ...], sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(self: Groups) -> tuple[Path, ...]:
        if not self.parents:
            return ()
        if isinstance(made, OSError):
            raise made
        return made

    monkeypatch.setattr(Groups, "make", make)
    monkeypatch.setattr(Groups, "of", lambda limits: Groups(dict.fromkeys(limits, tmp_path), limits))
    found = Sandbox.of(WorkerSettings(data_dir=tmp_path, runner_processes=64))
    (limits,) = (measure for measure in found.report.measures if measure.name == "limits")
    assert limits.on
    assert "no control group for pids" in limits.detail
    assert found.complete
    confined = Confined(found, tmp_path / "confined")
    assert confined.outcomes("tried('memory', lambda: __import__('resource').getrlimit(2)[0] > 0)") == {
        "memory": "got True"
    }
