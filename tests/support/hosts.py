"""Many hosts on one machine: network namespaces of the test's own, each with an address, on a switch that no other
network is joined to. Nothing of this machine's own network is changed, and no other address can be reached from there.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_FOLDER = Path("/run/netns")


class Hosts:
    """``names`` have the addresses 10.77.0.1, .2 … in this order."""

    def __init__(self, *names: str) -> None:
        self._prefix = f"layercut-{secrets.token_hex(3)}"
        self.addresses = {name: f"10.77.0.{place}" for place, name in enumerate(names, start=1)}
        self._switch = f"{self._prefix}-switch"
        self.processes: list[subprocess.Popen[bytes]] = []

    def open(self) -> None:
        _ip("netns", "add", self._switch)
        self._on_switch("link", "add", "bridge", "type", "bridge")
        self._on_switch("link", "set", "bridge", "up")
        for name, address in self.addresses.items():
            _ip("netns", "add", self.namespace(name))
            self._on_switch(
                "link", "add", self._port(name), "type", "veth", "peer", "eth0", "netns", self.namespace(name)
            )
            self._on_switch("link", "set", self._port(name), "master", "bridge", "up")
            for what in (("addr", "add", f"{address}/24", "dev", "eth0"), ("link", "set", "eth0", "up"),
                         ("link", "set", "lo", "up")):  # fmt: skip
                _ip("-netns", self.namespace(name), *what)

    def close(self) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait()
        for name in (*map(self.namespace, self.addresses), self._switch):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)

    def namespace(self, name: str) -> str:
        return f"{self._prefix}-{name}"

    def cut_off(self, name: str) -> None:
        """Its cable is pulled: whoever talks to it, or it to others, hears nothing more."""
        self._on_switch("link", "set", self._port(name), "down")

    def join(self, name: str) -> None:
        self._on_switch("link", "set", self._port(name), "up")

    def command(self, name: str, *command: str | Path) -> list[str]:
        """Of a process on that host."""
        return ["ip", "netns", "exec", self.namespace(name), *map(str, command)]

    def start(self, name: str, *command: str | Path, log: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """A process on that host, which is killed at the end."""
        with log.open("ab") as stream:
            process = subprocess.Popen(
                self.command(name, *command), env=dict(env), stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
                start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)
        return process

    @contextmanager
    def on(self, name: str) -> Iterator[None]:
        """What this thread connects to meanwhile, it connects to from that host."""
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        other = os.open(_FOLDER / self.namespace(name), os.O_RDONLY)
        try:
            _enter(other)
            yield
        finally:
            _enter(own)
            os.close(own)
            os.close(other)

    def _port(self, name: str) -> str:
        """Of the switch; an interface's name has at most 15 characters."""
        return f"to-{name}"

    def _on_switch(self, *what: str) -> None:
        _ip("-netns", self._switch, *what)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _NEW_NETWORK) != 0:
        raise OSError(ctypes.get_errno(), "cannot enter the network namespace")


@contextmanager
def hosts(*names: str) -> Iterator[Hosts]:
    """Skips where there are no network namespaces to be had."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("needs root and ip (apt-get install iproute2), to make network namespaces")
    made = Hosts(*names)
    try:
        made.open()
    except subprocess.CalledProcessError as error:
        made.close()
        pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
    try:
        yield made
    finally:
        made.close()
