"""The next runner, started before there is a job: importing torch takes longer than many a job's first steps."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryFile

from workers.sandbox.sandbox import Sandbox
from workers.supervision.runner_process import RunnerProcess

#: What is written to see whether anything can be: a block.
PROBE_BYTES = 4096


class WarmRunner:
    """Keeps one runner waiting. One whose scratch folder was deleted meanwhile, in part or in whole, is thrown away."""

    def __init__(self, command: list[str], scratch_root: Path, sandbox: Sandbox) -> None:
        self._command, self._sandbox = command, sandbox
        self._scratch_root = scratch_root
        self._waiting: RunnerProcess | None = None

    def prepare(self) -> None:
        """Have a live runner waiting. Raises ``OSError`` where none can be started."""
        if self._waiting is None or not self._waiting.fit:
            self.clear()
            self._waiting = self._start()

    def ready(self) -> None:
        """Have one waiting that could do a job now. Raises ``OSError`` also where its job could write nothing: a disk
        may have bytes, but no inodes, no quota or no rights left.
        """
        self.prepare()
        with TemporaryFile(dir=self._scratch_root, buffering=0) as probe:
            probe.write(bytes(PROBE_BYTES))

    def take(self) -> RunnerProcess:
        """The waiting runner, or a new one where it died; the caller disposes of it. Raises ``OSError``."""
        self.prepare()
        runner, self._waiting = self._waiting, None
        assert runner is not None
        return runner

    def give_back(self, runner: RunnerProcess) -> None:
        """One that was taken, and got no job."""
        self.clear()
        self._waiting = runner

    def clear(self) -> None:
        runner, self._waiting = self._waiting, None
        if runner is not None:
            runner.dispose()

    def _start(self) -> RunnerProcess:
        return RunnerProcess(self._command, self._scratch_root, self._sandbox)
