"""The folder of a ``file://`` store. obstore neither opens its files, nor sees what was only half written there."""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

#: What obstore calls a file until all of it is written. It refuses such names itself, so no other file has one.
_UNFINISHED = re.compile(r".*#[0-9]+")

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

    def names(self, start: str) -> Iterator[str]:
        """The folders in ``start``, one by one."""
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self._root / start) as entries:
            yield from (entry.name for entry in entries if entry.is_dir(follow_symlinks=False))

    def unfinished(self, start: str, older_than_seconds: float = 0.0) -> Iterator[str]:
        """Files under ``start`` that were never written to their end, and were not written to for that long."""
        latest = time.time() - older_than_seconds
        for folder, _, files in os.walk(self._root / start):
            for name in filter(_UNFINISHED.fullmatch, files):
                path = Path(folder, name)
                if _written(path) <= latest:
                    yield path.relative_to(self._root).as_posix()

    def remove(self, path: str) -> None:
        """Raises ``OSError``."""
        (self._root / path).unlink()

    def remove_empty(self, start: str, older_than_seconds: float = 0.0) -> None:
        """Remove the empty folders under ``start``, it too, and those that it was the last in; no file goes.

        Whoever is about to write there makes its folder anew: obstore does.
        """
        latest = time.time() - older_than_seconds
        for folder, _, _ in os.walk(self._root / start, topdown=False):
            _remove_if_empty(Path(folder), latest)
        for parent in (self._root / start).parents:
            if parent == self._root or not parent.is_relative_to(self._root):
                return
            _remove_if_empty(parent, latest)


    def _opened(self, path: str) -> int:
        *folders, name = path.split("/")
        with ExitStack() as stack:
            handle = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, handle)
            for folder in folders:
                handle = os.open(folder, _ENTER, dir_fd=handle)
                stack.callback(os.close, handle)
            return os.open(name, _READ, dir_fd=handle)


def is_unfinished(path: str) -> bool:
    return _UNFINISHED.fullmatch(path) is not None


def _written(path: Path) -> float:
    """When; never, of one that is gone."""
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _remove_if_empty(folder: Path, latest: float) -> None:
    with suppress(OSError):  # it is not empty, or another was faster
        if _written(folder) <= latest:
            folder.rmdir()
