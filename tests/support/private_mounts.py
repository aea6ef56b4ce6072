"""A child process that alone sees what it mounts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_PRIVATE = ["unshare", "--user", "--map-root-user", "--mount"]


def run_privately(mount: str, script: str, *arguments: object) -> str:
    """What the Python ``script`` prints, after the shell command ``mount``; both are given ``arguments``.

    Skips the test where there are no mount namespaces to be had.
    """
    if (
        shutil.which("unshare") is None
        or subprocess.run([*_PRIVATE, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("needs a mount namespace of its own")
    command = f'{mount} && exec "$PYTHON" -c "$SCRIPT" "$@"'
    return subprocess.run(
        [*_PRIVATE, "sh", "-c", command, "sh", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env={"PYTHON": sys.executable, "SCRIPT": script, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    ).stdout
