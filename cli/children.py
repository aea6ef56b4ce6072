"""Parent and child: a parent that keeps its children running, children that end with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

#: Told to a child: the process it must end with.
PARENT = "LAYERCUT_PARENT_PID"

FIRST_DELAY, LONGEST_DELAY = 0.5, 10.0
#: A child that lived this long starts with the first delay again.
STEADY_SECONDS = 20.0
FOLLOW_SECONDS = 1.0


class Child:
    """One command of `layercut`, started again whenever it ends, until it is stopped. ``settings`` are added to its
    environment; each process of it has the ``descriptors``, too.
    """

    def __init__(
        self,
        name: str,
        *arguments: str,
        say: Callable[[str], None],
        settings: Mapping[str, str] = MappingProxyType({}),
        descriptors: Sequence[int] = (),
    ) -> None:
        self.name, self._settings, self._descriptors = name, settings, descriptors
        # -P: the working folder is the user's, and may well hold a package that is named like one of ours.
        self._command = [sys.executable, "-P", "-m", "cli.main", name, *arguments]
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._change = threading.Lock()
        self._thread = threading.Thread(target=self._keep, name=f"keep-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask it to leave; returns at once."""
        self._stopping.set()
        self._signal(signal.SIGTERM)

    def wait(self, seconds: float) -> None:
        """Return when it has left; after that long it is killed."""
        self._thread.join(seconds)
        self._signal(signal.SIGKILL)
        self._thread.join()

    def _signal(self, number: signal.Signals) -> None:
        with self._change:
            if self._process is not None:
                self._process.send_signal(number)

    def _keep(self) -> None:
        delay = FIRST_DELAY
        while (process := self._spawn()) is not None:
            began = time.monotonic()
            code = process.wait()
            if self._stopping.is_set():
                return
            delay = FIRST_DELAY if time.monotonic() - began > STEADY_SECONDS else delay
            self._say(f"the {self.name} ended with {_named(code)}; it is started again in {delay:g} s")
            self._stopping.wait(delay)
            delay = min(delay * 2, LONGEST_DELAY)

    def _spawn(self) -> subprocess.Popen[bytes] | None:
        with self._change:
            if self._stopping.is_set():
                return None
            # A session of its own: Ctrl-C is for the parent, which tells its children in its own way.
            self._process = subprocess.Popen(
                self._command,
                env={**os.environ, **self._settings, PARENT: str(os.getpid())},
                pass_fds=self._descriptors,
                start_new_session=True,
            )
            return self._process


def keep_running(
    children: list[Child],
    started: Callable[[], None],
    stopping: Callable[[], None],
    *,
    leave_seconds: float,
    done: Callable[[], bool] = lambda: False,
) -> None:
    """Run them until SIGINT or SIGTERM, or until ``done``, and then until they have left, for which all have
    ``leave_seconds``. A second signal does not wait for them.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for child in children:
            child.start()
        started()
        while not done():
            time.sleep(FOLLOW_SECONDS)
        _stop(children, leave_seconds)
    except KeyboardInterrupt:
        stopping()
        _stop(children, leave_seconds)


def _stop(children: list[Child], leave_seconds: float) -> None:
    for child in children:
        child.stop()
    deadline = time.monotonic() + leave_seconds
    for child in children:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except KeyboardInterrupt:
            deadline = 0.0
            child.wait(0)


def follow_parent(leave_seconds: float) -> bool:
    """End this process, as SIGTERM does, when the parent that started it as its child is gone. Whether it has one."""
    parent = os.environ.pop(PARENT, None)
    if parent is not None:
        told = (int(parent), leave_seconds)
        threading.Thread(target=_follow, args=told, name="follow-parent", daemon=True).start()
    return parent is not None


def _follow(parent: int, leave_seconds: float) -> None:
    while os.getppid() == parent:
        time.sleep(FOLLOW_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(leave_seconds)
    os._exit(1)


def _named(code: int) -> str:
    return f"code {code}" if code >= 0 else signal.Signals(-code).name
