"""`layercut serve` as a user starts it, on a free port, with all it keeps in one folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil

from tests.support.processes import eventually

LAYERCUT = [sys.executable, "-P", "-m", "cli.main"]


def environment(**settings: object) -> dict[str, str]:
    """This process's, without settings of the user's own, and with these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LAYERCUT_")}
    ours = {f"LAYERCUT_{name.upper()}": str(value) for name, value in settings.items()}
    return {**kept, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **ours}


class Served:
    def __init__(self, folder: Path, **settings: object) -> None:
        self.data = folder / "data"
        self.log = folder / "serve.log"
        with self.log.open("wb") as stream:
            self.process = subprocess.Popen(
                [*LAYERCUT, "serve", "--port", "0", "--data-dir", self.data],
                env=environment(**settings),
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        ready = eventually(lambda: re.search(r"ready at (http://\S+)", self.log.read_text()), seconds=60)
        # A proxy of the user's has no business between two processes of one machine: trust_env.
        self.client = httpx.Client(base_url=ready[1], trust_env=False, timeout=30)

    def child(self, name: str) -> psutil.Process | None:
        """``gateway`` or ``worker``."""
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):  # as one that has just died is called
                if name in child.cmdline():
                    return child
        return None

    @property
    def runner(self) -> psutil.Process | None:
        worker = self.child("worker")
        return next(iter(worker.children()), None) if worker else None

    def everyone(self) -> list[psutil.Process]:
        return [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]

    def healthy(self) -> bool:
        try:
            return self.client.get("/healthz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            for process in reversed(self.everyone()):
                process.kill()
            self.process.wait(30)


@contextmanager
def served(folder: Path, **settings: object) -> Iterator[Served]:
    server = Served(folder, **settings)
    try:
        yield server
    finally:
        server.close()
