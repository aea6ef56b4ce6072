"""Libraries that users have beside ours, in folders that `make peers` makes; ``examined`` asks stock classes there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from workers.export.verify import PROGRAM

PEERS = Path(__file__).parents[2] / "build" / "peers"
OLDEST = PEERS / "transformers-4.57"

EXAMINE_ALL = """
import json, sys, warnings
sys.path[:0], sys.path[len(sys.path):] = [sys.argv[1]], [sys.argv[2]]
warnings.simplefilter("ignore")
from verification.examine import examine
json.dump([examine(asked) for asked in json.load(sys.stdin)], sys.stdout)
"""


def needs_peer(folder: Path) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        not (folder / ".installed").exists(), reason=f"{folder.name} is not there: `make peers` has not been run"
    )


def run_with(
    peer: Path, code: str, *arguments: str, given: str = "", also: Path | None = None, seconds: float = 240
) -> str:
    """What ``code`` prints, with the libraries in ``peer``, and in ``also``, before those that are installed, offline,
    and none of our code; its first argument is ``peer``.
    """
    first = os.pathsep.join(str(folder) for folder in (peer, also) if folder)
    environment = os.environ | {"PYTHONPATH": first, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(peer), *arguments],
        input=given, capture_output=True, text=True, timeout=seconds, check=False, env=environment, cwd="/",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def examined(peer: Path, asked: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the verification finds there, for each of ``asked``: all in one process, as starting one takes seconds."""
    said = run_with(peer, EXAMINE_ALL, str(PROGRAM.parent), given=json.dumps(asked))
    found: list[dict[str, Any]] = json.loads(said)
    return found
