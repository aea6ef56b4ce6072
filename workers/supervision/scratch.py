"""Folders for what a running job makes. One whose owner is dead is found by its lock, and swept."""

from __future__ import annotations

import fcntl
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from workers.removal import remove_tree

#: Of a scratch folder: which process group works in it, and since when.
GROUP = "group"
#: How long one that was killed may take to be gone.
END_SECONDS, LOOK_SECONDS = 2.0, 0.02
#: What a sandbox is tried in; nobody tries for so long.
TRIALS, TRIAL_SECONDS = "probe-*", 600.0


class Scratch:
    """A new folder under ``root``, locked for as long as this process lives: all that a runner sees of the host.

    It reads ``inputs`` and ``shared`` (things of the cache), and writes to the other folders. A ``Sandbox`` makes them.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        with locked(root):
            self.folder = Path(tempfile.mkdtemp(prefix="runner-", dir=root))
            try:
                self._lock = _lock(self.folder, fcntl.LOCK_EX)
            except OSError:
                self.folder.rmdir()
                raise
        self._parts: dict[Path, int] = {}

    @property
    def inputs(self) -> Path:
        return self.folder / "inputs"

    @property
    def shared(self) -> Path:
        return self.folder / "shared"

    @property
    def notes(self) -> Path:
        return self.folder / "notes"

    @property
    def made(self) -> Path:
        """Things for the cache that the runner is making."""
        return self.folder / "made"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def note_parts(self) -> None:
        """What is in it by now belongs to it: a runner cannot work where any of it is gone."""
        self._parts = {path: path.lstat().st_ino for path in self.folder.iterdir()}

    def note_group(self, leader: int) -> None:
        """Whose folder it is, for whoever sweeps it: a runner that is stopped does not see that its worker is dead."""
        with suppress(OSError):  # no /proc, or no room: it sees that itself, mostly
            (self.folder / GROUP).write_text(f"{leader} {_started(leader)}")

    @property
    def whole(self) -> bool:
        """Whether all that was noted is there. What was made anew is another folder, and closed to a runner."""
        return not self.gone and all(_inode(path) == number for path, number in self._parts.items())

    @property
    def gone(self) -> bool:
        """Whether the folder was deleted, and with it all that a running job needs."""
        return _inode(self.folder) != os.fstat(self._lock).st_ino

    def clear_inputs(self) -> bool:
        """Remove what was staged; whether nothing is left of it."""
        return all([remove_tree(path) for path in self.inputs.iterdir()])

    def remove(self) -> None:
        remove_tree(self.folder)
        os.close(self._lock)


def sweep(root: Path) -> None:
    """Remove the folders under ``root`` that a killed worker left behind, and end what still works in them."""
    root.mkdir(parents=True, exist_ok=True)
    with locked(root):
        for folder in root.glob("runner-*"):
            _remove_if_dead(folder)
        for folder in root.glob(TRIALS):
            with suppress(OSError):
                if folder.stat().st_mtime < time.time() - TRIAL_SECONDS:
                    remove_tree(folder)


def _remove_if_dead(folder: Path) -> None:
    try:
        lock = _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # its owner lives, or has just removed it
        return
    with suppress(OSError, ValueError):  # it has ended
        _end_group(folder)
    remove_tree(folder)
    os.close(lock)


def _end_group(folder: Path) -> None:
    leader, started = (folder / GROUP).read_text().split()
    deadline = time.monotonic() + END_SECONDS
    # By its number alone it could be another.
    while _started(int(leader)) == started and time.monotonic() < deadline:
        os.killpg(int(leader), signal.SIGKILL)
        time.sleep(LOOK_SECONDS)


def _started(pid: int) -> str:
    """When a process began, and where its number is one, in the kernel's words; raises ``OSError`` where it is gone or
    the kernel does not say.

    Another worker on the same folder may be in a container of its own: there, the number is another process's.
    """
    state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    if state == "Z":
        raise ProcessLookupError(pid)
    return f"{fields[18]}@{os.readlink('/proc/self/ns/pid')}"


def _inode(path: Path) -> int | None:
    try:
        return path.lstat().st_ino
    except OSError:
        return None


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Inside, no other process is: a folder could be swept between its making and its locking."""
    lock = _lock(root, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(lock)


def _lock(folder: Path, how: int) -> int:
    """The kernel lets go of the lock when the process ends, however it ends."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, how)
    except OSError:
        os.close(handle)
        raise
    return handle
