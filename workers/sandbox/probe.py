"""A program: try from within what a runner must not be able to do, and say what came, as one line of JSON on stdout.

``probe.py ASKED``, started by `launch.py` in place of a runner. Standard library alone. Of each thing it tells whether
it was refused, in words; what cannot be tried is not refused.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

Asked = dict[str, Any]


def _read(path: str) -> None:
    with open(path, "rb") as file:
        file.read(1)


def _write(path: str) -> None:
    with open(path, "ab"):
        pass


def _empty(path: str) -> None:
    """Opened for neither reading nor writing, which older kernels ask Landlock nothing about."""
    os.close(os.open(path, os.O_ACCMODE | os.O_TRUNC))


def _each(action: Callable[[str], None], paths: list[str]) -> None:
    for path in paths:
        action(path)


def _signal(asked: Asked) -> None:
    os.kill(asked["supervisor"], 0)


def _send_datagram(_: Asked) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("127.0.0.1", 9))


def _change_mode(asked: Asked) -> None:
    """Raises where the mode stays, whatever was answered."""
    os.chmod(asked["canary"], 0o600)
    os.chmod(asked["canary"], 0o640)
    if os.stat(asked["canary"]).st_mode & 0o777 != 0o640:
        raise PermissionError("answered, and not done")


#: By measure: each must be refused.
REFUSED: dict[str, dict[str, Callable[[Asked], object]]] = {
    "files": {
        "reading /etc/passwd": lambda _: _read("/etc/passwd"),
        "reading another folder of the scratch root": lambda asked: _read(asked["canary"]),
        "writing there": lambda asked: _write(asked["canary"]),
        "emptying it there": lambda asked: _empty(asked["canary"]),
        "making a file there": lambda asked: _write(asked["canary"] + ".new"),
        "writing to its own inputs": lambda asked: _write(asked["inputs"] + "/new"),
        "writing to its code": lambda asked: _write(asked["code"]),
        "listing the worker's data": lambda asked: os.listdir(asked["data"]),
        "listing /": lambda _: os.listdir("/"),
    },
    "network": {
        "a TCP socket": lambda _: socket.socket(socket.AF_INET, socket.SOCK_STREAM).close(),
        "a UDP datagram": _send_datagram,
        "a Unix socket": lambda _: socket.socket(socket.AF_UNIX).close(),
        "a raw netlink socket": lambda _: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close(),
    },
    "other_processes": {
        "a signal to its supervisor": _signal,
        "its supervisor's environment": lambda asked: _read(f"/proc/{asked['supervisor']}/environ"),
    },
    "system_calls": {"a change of another file's mode": _change_mode},
}

#: What it must still be able to do; asked first, so that the canary is whole.
ALLOWED: dict[str, Callable[[Asked], object]] = {
    "reading its libraries": lambda asked: _each(_read, asked["libraries"]),
    "writing to its folders": lambda asked: _each(_write, [f"{folder}/probe" for folder in asked["writable"]]),
    "reading its inputs": lambda asked: os.listdir(asked["inputs"]),
}


def _outcome(action: Callable[[Asked], object], asked: Asked) -> str | None:
    try:
        action(asked)
    except OSError as error:
        return str(error)
    return None


def main() -> None:
    asked = json.loads(sys.argv[1])
    cannot = {name: why for name, action in ALLOWED.items() if (why := _outcome(action, asked)) is not None}
    open_ways = {
        measure: [name for name, action in actions.items() if _outcome(action, asked) is None]
        for measure, actions in REFUSED.items()
    }
    status = ""
    with suppress(OSError):
        status = Path("/proc/self/status").read_text()
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    privileges = [
        f"{name} is {facts.get(name, 'not known')}"
        for name, wanted in {"CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1"}.items()
        if facts.get(name) != wanted and not (name == "CapBnd" and os.getuid() != 0)
    ]
    print(json.dumps({"cannot": cannot, "open": {**open_ways, "privileges": privileges}, "uid": os.getuid()}))


if __name__ == "__main__":
    main()
