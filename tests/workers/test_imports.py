"""The Celery side is small: a worker that imported torch would hold its memory, and a GPU, for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = "torch transformers sklearn scipy"
CHECK = """
import importlib, sys
for name in sys.argv[1].split(): importlib.import_module(name)
sys.exit(", ".join(name for name in sys.argv[2].split() if name in sys.modules) or 0)
"""


@pytest.mark.parametrize(
    "modules", ["workers.celery_app workers.supervision.supervisor", "workers.runner", "cli.main cli.serving"]
)
def test_torch_is_not_imported(tmp_path: Path, modules: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "LAYERCUT_DATA_DIR": str(tmp_path / "data")}
    done = subprocess.run(
        [sys.executable, "-c", CHECK, modules, HEAVY], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "data").exists()  # and importing makes nothing
