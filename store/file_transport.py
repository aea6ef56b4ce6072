"""kombu's filesystem transport, safe for several processes that come and go.

Kombu's own lets a reader see a message that is half written, takes a message by moving it to the temporary folder
(a copy, and so no claim, where that is another disk), and stops when somebody deletes its folders, or leaves there what
is no message.
"""

from __future__ import annotations

import os
import shutil
import stat
import uuid
from contextlib import suppress
from pathlib import Path
from queue import Empty
from time import monotonic_ns, time
from typing import Any

from kombu.transport import filesystem
from kombu.utils.json import dumps

from store.wake_messages import MAX_BYTES, NoWakeUp, dropped, read_wake_up

#: Of a message that is being written; nobody writes for so long but who was killed.
HIDDEN, WRITING_SECONDS = ".new", 600.0


class Channel(filesystem.Channel):
    """A message is one file: written under a hidden name and renamed, taken by whoever removes it."""

    @property
    def data_folder_in(self) -> Path:
        return self._folder("data_folder_in")

    @property
    def data_folder_out(self) -> Path:
        return self._folder("data_folder_out")

    @property
    def control_folder(self) -> Path:
        return self._folder("control_folder")

    def _folder(self, option: str) -> Path:
        folder = Path(self.transport_options[option])
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:  # type: ignore[override]
        path = self.data_folder_out / f"{monotonic_ns():020}_{uuid.uuid4()}.{queue}.msg"
        hidden = path.with_suffix(HIDDEN)
        try:
            hidden.write_text(dumps(payload))  # type: ignore[no-untyped-call]
            hidden.rename(path)
        except OSError:
            hidden.unlink(missing_ok=True)
            raise

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        for path in sorted(self.data_folder_in.iterdir()):
            if path.suffix == HIDDEN:
                _sweep(path)
            if path.name.partition(".")[2] == f"{queue}.msg" and (found := _taken(path)) is not None:
                return found
        raise Empty


def _taken(path: Path) -> dict[str, Any] | None:
    """The message, which nobody else has then; None where another reader was faster, and where it is no wake-up."""
    broken: Exception | None = None
    message: dict[str, Any] | None = None
    try:
        message = read_wake_up(_content(path))
    except FileNotFoundError:
        return None
    except (NoWakeUp, OSError) as error:
        broken = error
    if not _removed(path):
        return None
    if broken is not None:
        dropped(broken)
    return message


def _content(path: Path) -> bytes:
    """No more than is too much. Raises ``NoWakeUp`` for what is no file, and ``OSError``."""
    # Without O_NONBLOCK, opening a pipe would wait for its writer.
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise NoWakeUp("it is no file")
        return os.read(handle, MAX_BYTES + 1)
    finally:
        os.close(handle)


def _sweep(path: Path) -> None:
    with suppress(OSError):
        if path.lstat().st_mtime < time() - WRITING_SECONDS:
            path.unlink()


def _removed(path: Path) -> bool:
    """Whether it was we who removed it: that is what taking a message is."""
    try:
        path.unlink()
    except (IsADirectoryError, PermissionError):  # macOS says the latter of a folder
        shutil.rmtree(path, ignore_errors=True)
        return not path.exists()
    except FileNotFoundError:
        return False
    return True


class Transport(filesystem.Transport):
    Channel = Channel
