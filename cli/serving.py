"""`layercut serve`: the parent of a gateway and a worker."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import time
from pathlib import Path

import typer

from cli.children import Child, keep_running
from workers.settings import WorkerSettings


def serve_here(host: str, port: int, data_dir: Path) -> int:
    """Run both until SIGINT or SIGTERM; the exit code. A second signal does not wait for them."""
    try:
        port = _bindable(host, port)
    except OSError as error:
        _say(f"cannot listen on {host}:{port}: {error.strerror}. Another port: --port N, or --port 0 for a free one")
        return 1
    children = [Child("gateway", "--host", host, "--port", str(port), say=_say), Child("worker", say=_say)]
    leave_seconds = WorkerSettings().leave_seconds
    keep_running(children, lambda: _announce(host, port, data_dir), _say_stopping, leave_seconds=leave_seconds)
    return 0


def _announce(host: str, port: int, data_dir: Path) -> None:
    while not _answers(_reachable(host), port):
        time.sleep(0.1)
    shown = f"[{host}]" if ":" in host else host
    _say(f"ready at http://{shown}:{port} (try /docs); data in {data_dir}")


def _say_stopping() -> None:
    _say("stopping; a running job goes back to the queue")


def _bindable(host: str, port: int) -> int:
    """``port``, or a free one for 0; raises ``OSError`` where nobody can listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return int(probe.getsockname()[1])


def _reachable(host: str) -> str:
    """Where a listener on ``host`` can be asked from this machine."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


def _answers(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def _say(text: str) -> None:
    typer.echo(f"layercut: {text}")
