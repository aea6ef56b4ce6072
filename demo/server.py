"""A ``layercut serve`` of our own, for as long as the demo runs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

READY_SECONDS = 60
STOP_SECONDS = 30


class DemoError(Exception):
    """Something went wrong: the demo ends with it, after the end of the server's log."""


class Explained(Exception):
    """Something went wrong, and its text says why: the demo ends with it alone."""


@contextmanager
def serve(
    folder: Path, model_roots: Path, data_roots: Path, settings: dict[str, str] | None = None
) -> Iterator[httpx.Client]:
    """A client of a server on a free port of 127.0.0.1 that keeps everything under ``folder``; stopped at the end.

    ``settings``: further variables of its environment.
    """
    port = _free_port()
    log = folder / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [Path(sys.executable).with_name("layercut"), "serve", "--port", str(port), "--data-dir", folder / "home"],
            env=_environment(model_roots, data_roots) | (settings or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        # A proxy of the user's has no business between two processes of one machine: trust_env.
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            _wait_until_ready(client, server)
            yield client
    except (DemoError, httpx.HTTPError) as error:
        raise DemoError(f"The end of the server's log:\n{_tail(log)}\n\n{error}") from error
    finally:
        _stop(server)


def _environment(model_roots: Path, data_roots: Path) -> dict[str, str]:
    # The user's own LAYERCUT_ settings would point this server at the user's own database and artifacts.
    kept = {
        name: value
        for name, value in os.environ.items()
        if name == "LAYERCUT_GLUE_DIR" or not name.startswith("LAYERCUT_")
    }
    return {**kept, "LAYERCUT_MODEL_ROOTS": str(model_roots), "LAYERCUT_DATA_ROOTS": str(data_roots)}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(client: httpx.Client, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise DemoError(f"the server ended at its start, with exit code {server.returncode}")
        try:
            if client.get("/readyz").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise DemoError(f"the server was not ready after {READY_SECONDS} seconds")


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _tail(log: Path, lines: int = 40) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
