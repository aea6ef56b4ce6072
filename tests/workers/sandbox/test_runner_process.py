"""A runner as its supervisor starts it: locked in, in its own folder, without the secrets of its worker."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import pytest

from sources.inputs import Inputs
from sources.staging import Handle, Staged
from tests.support.confined import TRY
from workers.sandbox.sandbox import Sandbox
from workers.settings import WorkerSettings
from workers.supervision.runner_process import Exit, RunnerProcess

PROGRAM = """
import json
from workers.descriptors import receive_descriptors
from workers.sandbox.landlock import lock_in
sys.stdout = sys.stderr
tried("where", lambda: os.getcwd() == os.environ["TMPDIR"] and os.path.basename(os.getcwd()))
tried("home", lambda: os.path.basename(os.path.expanduser("~")))
tried("secrets", lambda: [name for name, value in os.environ.items() if "secret" in value])
handover = json.loads(sys.stdin.readline())
(given,) = receive_descriptors(int(sys.argv[sys.argv.index("--wait") + 1]), 1)
lock_in(handover["files"] | {"open_files": [given]})
tried("given", lambda: open("/proc/self/fd/" + str(given)).read())
tried("database", lambda: open(sys.argv[1]).read())
tried("output", lambda: open(os.getcwd() + "/../out/x", "w").write("x"))
sys.exit(7)
"""


def exit_code(runner: RunnerProcess) -> int:
    ended = runner.inbox.get(timeout=30)
    assert isinstance(ended, Exit)
    assert ended.memory_kills is not None
    assert ended.memory_kills.kills == 0
    return ended.code


def test_it_is_locked_in_and_told_no_secret(
    sandbox: Sandbox, settings: WorkerSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_TOKEN", "HF_HUB_TOKEN", "HTTPS_PROXY", "LAYERCUT_DATABASE_URL", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "secret")
    database, given = settings.data_dir / "some.db", tmp_path / "weights"
    database.write_text("secret")
    given.write_text("weights")
    command = [sys.executable, "-P", "-c", TRY + PROGRAM, str(database)]
    runner = RunnerProcess(command, settings.scratch_root, sandbox)
    try:
        with given.open("rb") as weights:
            inputs = Inputs(folder=runner.scratch.inputs, descriptors=["model/weights"])
            handle = Handle("model/weights", "model", weights, ())
            runner.job_file.write_text("{}")
            runner.give(Staged(inputs, [handle], 0.0, 0, 7), seconds=60)
        assert exit_code(runner) == 7
        said = dict(line.split(": ", 1) for line in runner.last_words.splitlines())
    finally:
        runner.dispose()
    assert said.pop("database").startswith("refused")
    assert said == {
        "where": "got 'tmp'",
        "home": "got 'home'",
        "secrets": "got []",
        "given": "got 'weights'",
        "output": "got 1",
    }
    assert not runner.scratch.folder.exists()


BOMB = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(20):
    if not os.fork():
        if os.fork(): os._exit(0)  # whose child is an orphan
        time.sleep(600)
os._exit(3)
"""


def test_nothing_is_left_of_what_it_started_not_even_to_be_waited_for(
    sandbox: Sandbox, settings: WorkerSettings
) -> None:
    runner = RunnerProcess([sys.executable, "-P", "-c", TRY + BOMB], settings.scratch_root, sandbox)
    try:
        assert exit_code(runner) == 3
        assert _group(runner.pid) == []
    finally:
        runner.dispose()


def _group(leader: int) -> list[str]:
    """Processes and zombies in it: number, name, state, parent, group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            found.append(stat.read_text())
    return [line for line in found if int(line.rpartition(")")[2].split()[2]) == leader]


WITHOUT_TORCH = """
import runpy, sys
sys.modules["workers.pipeline"] = None  # its import takes seconds; a runner goes on where it fails
runpy.run_module("workers.runner", run_name="__main__")
"""


def test_a_runner_without_a_thread_to_listen_ends_and_says_why(settings: WorkerSettings, tmp_path: Path) -> None:
    alone = Sandbox.of(settings.model_copy(update={"runner_processes": 1}))
    runner = None
    try:
        (limits,) = (measure for measure in alone.report.measures if measure.name == "limits")
        if not limits.on or "not its processes" in limits.detail:
            pytest.skip(f"processes are not counted here: {limits.detail}")
        runner = RunnerProcess([sys.executable, "-P", "-c", WITHOUT_TORCH], settings.scratch_root, alone)
        runner.job_file.write_text("{}")
        runner.give(Staged(Inputs(folder=runner.scratch.inputs), [], 0.0, 0, 0), seconds=60)
        assert exit_code(runner) == 1
        assert "can't start new thread" in runner.last_words
    finally:
        if runner is not None:
            runner.dispose()
        alone.close()
