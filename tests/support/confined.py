"""Programs run as a runner is: locked in, with a scratch folder of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from workers.sandbox.groups import remove_groups
from workers.sandbox.sandbox import Sandbox
from workers.supervision.runner_environment import runner_environment

#: Run before each program: what it says of each thing that it tries.
TRY = """
import os, sys
def tried(what, action):
    try:
        print(f"{what}: got {action()!r}", flush=True)
    except OSError as error:
        print(f"{what}: refused, {error!r}", flush=True)
"""

#: `call(name, ...)` makes a system call that Python has no function for; a number in place of the name is one too.
CALL = """
import ctypes
from workers.sandbox.call_numbers import number_of
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
def call(name, *arguments):
    number = name if isinstance(name, int) else number_of(name, os.uname().machine)
    passed = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    answer = LIBC.syscall(ctypes.c_long(number), *passed)
    if answer < 0: raise OSError(ctypes.get_errno(), name)
    return answer
"""

#: The filter alone: of a kernel whose Landlock knows no truncation and no signals, it is what keeps them.
FILTERED = """
from workers.sandbox import privileges, seccomp
privileges.forbid_new_privileges()
seccomp.lock_system_calls(own_signals=True)
"""


def run_filtered(program: str, *arguments: object) -> dict[str, str]:
    """What ``program`` said of each thing that it tried, as on an older kernel."""
    return run_free(FILTERED + program, *arguments)


def run_free(program: str, *arguments: object) -> dict[str, str]:
    """The same with nothing locked: what is refused here as well proves nothing of a filter."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", TRY + CALL + program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        start_new_session=True,
    )
    return _said(done)


class Confined:
    """``folder`` is the scratch."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.sandbox, self.folder = sandbox, folder
        folder.mkdir(parents=True)
        sandbox.prepare(folder)

    def run(
        self, program: str, *arguments: object, descriptors: Sequence[int] = (), at_once: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """To its end; what it printed. Not ``at_once``: its files are locked when it does that itself."""
        command = [sys.executable, "-P", "-c", TRY + CALL + program, *map(str, arguments)]
        start = self.sandbox.launch_with_files if at_once else self.sandbox.launch
        launch = start(command, self.folder)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        try:
            return subprocess.run(
                launch.command,
                cwd=launch.cwd,
                pass_fds=descriptors,
                env=runner_environment(environment, self.folder),
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
                start_new_session=True,
            )
        finally:
            remove_groups(launch.groups)

    def outcomes(
        self, program: str, *arguments: object, descriptors: Sequence[int] = (), at_once: bool = True
    ) -> dict[str, str]:
        """What it said of each thing that it tried."""
        return _said(self.run(program, *arguments, descriptors=descriptors, at_once=at_once))


def _said(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    assert done.returncode == 0, done.stderr
    print(done.stdout)  # shown where a test fails
    return dict(line.split(": ", 1) for line in done.stdout.splitlines())
