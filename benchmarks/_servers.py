"""Servers that a benchmark starts on this machine: each is a process of its own, and ended with its block."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(
    command: list[str], port: int, log: Path, *, before: Callable[[], object] | None = None, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A server, once it listens; of our own settings it has those of ``environment`` alone. ``before`` is called in its
    process, before it is the server.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LAYERCUT_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**kept, **environment},
            stdout=output,
            stderr=output,
            preexec_fn=before,  # noqa: PLW1509 - no thread runs yet that could hold a lock
        )
    try:
        _await_port(port, process)
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None:
                raise SystemExit(f"{process.args!r} ended with {process.returncode}") from None
            if time.monotonic() > deadline:
                raise SystemExit(f"{process.args!r} did not start in time") from None
            time.sleep(0.05)
