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
        command = [sys.executable, "-P", "-c", TRY + program, *map(str, arguments)]
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
        done = self.run(program, *arguments, descriptors=descriptors, at_once=at_once)
        assert done.returncode == 0, done.stderr
        print(done.stdout)  # shown where a test fails
        return dict(line.split(": ", 1) for line in done.stdout.splitlines())
