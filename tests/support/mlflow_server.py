"""A real MLflow server on loopback, out of a virtual environment of its own: `make build/peers/mlflow/.installed`.

Its client is in ours; the server needs a hundred packages more, of which some are others than ours.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import httpx

from tests.support.gateway_process import free_port
from tests.support.processes import eventually

PROGRAM = Path(__file__).parents[2] / "build" / "peers" / "mlflow" / "bin" / "mlflow"


class MlflowServer:
    """Runs and artifacts lie in ``folder``, and are there again after a restart at the same address."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._port = folder, free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            PROGRAM, "server", "--host", "127.0.0.1", "--port", str(self._port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{self.folder}/runs.db", "--artifacts-destination",
            self.folder / "artifacts",
        ]  # fmt: skip
        # Without its eight processes for evaluations.
        own = {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
        }
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, env=own, stdout=log, stderr=log, start_new_session=True)
        eventually(self._answers, seconds=240)

    def kill(self) -> None:
        """As a host that dies: all of its processes at once."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        try:
            return httpx.get(f"{self.url}/health", trust_env=False, timeout=5).is_success
        except httpx.TransportError:
            return False
