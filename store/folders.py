"""The folder of a ``file://`` store. obstore neither opens its files, nor sees what was only half written there."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

from store.paths import is_unfinished

# Without O_NONBLOCK, opening a FIFO would wait for its writer.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ENTER = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
#: A link, a file where a folder should be, a FIFO that nobody writes to.
_NO_FILE = (errno.ELOOP, errno.ENOTDIR, errno.ENXIO)


class StoreFolder:
    """``root`` with all that is beneath it. Paths are those of the store: with slashes, from ``root`` on."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def open(self, path: str) -> BinaryIO:
        """The regular file. Raises ``OSError``: that there is none also where anything on its path is a link."""
        try:
            file = self._opened(path)
        except OSError as error:
            if error.errno in _NO_FILE:
                raise FileNotFoundError(error.errno, error.strerror, path) from None
            raise
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise FileNotFoundError(errno.ENOENT, "is no regular file", path)
        return os.fdopen(file, "rb")

    def unfinished(self, start: str) -> list[str]:
        """Files under ``start`` that were never written to their end."""
        return self.left(start)[0]

    def left(self, start: str, older_than_seconds: float | None = None) -> tuple[list[str], list[Path]]:
        """Files under ``start`` that were never written to their end, and its folders, each after what is in it.

        Where a time is given, those not written to for it. Without folders at the top: somebody may be about to write
        there at any time.
        """
        latest = _before(older_than_seconds)
        files: list[str] = []
        folders: list[Path] = []
        for folder, _, names in os.walk(self._root / start, topdown=False):
            here = Path(folder)
            paths = [path for path in map(here.joinpath, filter(is_unfinished, names)) if _written(path) <= latest]
            files += [path.relative_to(self._root).as_posix() for path in paths]
            if here.parent != self._root and _written(here) <= latest:
                folders.append(here)
        return files, folders

    def remove(self, path: str) -> None:
        """Raises ``OSError``."""
        (self._root / path).unlink()

    def remove_empty(self, start: str) -> None:
        """Remove the empty folders under ``start``, it too, and those that it was the last in, but for the top."""
        above = [parent for parent in (self._root / start).parents if parent.is_relative_to(self._root)]
        remove_empty([*self.left(start)[1], *above[:-2]])

    def _opened(self, path: str) -> int:
        *folders, name = path.split("/")
        with ExitStack() as stack:
            handle = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, handle)
            for folder in folders:
                handle = os.open(folder, _ENTER, dir_fd=handle)
                stack.callback(os.close, handle)
            return os.open(name, _READ, dir_fd=handle)


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove those that are empty. An upload that is about to begin there may fail, and can be made again."""
    for folder in folders:
        with suppress(OSError):  # it is not empty, or another was faster
            folder.rmdir()


def _before(seconds: float | None) -> float:
    return float("inf") if seconds is None else time.time() - seconds


def _written(path: Path) -> float:
    """When; never, of one that is gone."""
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return float("inf")
