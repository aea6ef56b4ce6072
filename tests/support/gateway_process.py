"""`layercut gateway` as a process of its own, on a free port of 127.0.0.1; its threads are not those of the test."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.support.processes import eventually
from tests.support.serve_process import LAYERCUT, environment


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def gateway_process(folder: Path, *, wait: bool = True, **settings: object) -> Iterator[int]:
    """The port of a gateway that has started, or will where nobody is to ``wait``; it is stopped at the end."""
    with running_gateway(folder, wait=wait, **settings) as (port, _):
        yield port


@contextmanager
def running_gateway(
    folder: Path, *, wait: bool = True, **settings: object
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The same, with its process, which the test may kill."""
    port = free_port()
    with (folder / "gateway.log").open("ab") as log:
        process = subprocess.Popen(
            [*LAYERCUT, "gateway", "--port", str(port)],
            env=environment(data_dir=folder / "data", **settings),
            stdout=log,
            stderr=log,
        )
        try:
            if wait:
                eventually(lambda: _healthy(port), seconds=60)
            yield port, process
        finally:
            process.terminate()
            process.wait(30)


def _healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
