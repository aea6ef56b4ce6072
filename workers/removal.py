"""Removes folders that a runner could write to, whatever it left in them: nested beyond any path, shut, or linked.

Folders are entered by handle and never through a link. One that is not empty is moved up beside the others, and its
own then follow: no path gets long, nothing recurses, and how deep it goes costs neither memory nor open files.
"""

from __future__ import annotations

import logging
import os
import secrets
import stat
import time
from contextlib import suppress
from itertools import count
from pathlib import Path

log = logging.getLogger("layercut.removal")

#: A million files take some ten seconds. What is left then is for the next sweep.
MAX_SECONDS = 300.0
#: Of folders that cannot be emptied; a runner must not fill the memory with their names.
MAX_STUCK = 1000
#: Lines of the log about one tree.
MAX_TOLD = 10

_ENTER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: A handle that needs no permission. Not everywhere; without it, what is shut to its owner is left.
_LOOK = getattr(os, "O_PATH", 0) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: Path, seconds: float = MAX_SECONDS) -> bool:
    """Remove the folder ``path`` with all that is in it, or whatever else is in its place; whether nothing is left.

    ``path`` must lie in a folder of our own. What cannot be removed, or not within ``seconds``, is logged and left.
    """
    try:
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return not path.parent.exists()
    try:
        return _remove(parent, path.name, time.monotonic() + seconds)
    except FileNotFoundError:
        return True
    except OSError as error:
        log.warning("cannot remove %s: %s", path, error)
        return False
    finally:
        os.close(parent)


def _remove(parent: int, name: str, deadline: float) -> bool:
    if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=parent)
        return True
    root = _entered(name, parent)
    try:
        _Removal(root, deadline).run()
    finally:
        os.close(root)
    os.rmdir(name, dir_fd=parent)
    return True


class _Removal:
    """Empties the open folder ``root``."""

    def __init__(self, root: int, deadline: float) -> None:
        self._root, self._deadline = root, deadline
        #: Folders of ``root`` that could not be removed.
        self._stuck: set[str] = set()
        # Nothing that is there already can be called so.
        self._token, self._numbers = secrets.token_hex(8), count()
        self._told = 0

    def run(self) -> None:
        while len(self._stuck) < MAX_STUCK and (found := self._next_full(self._root, self._stuck)) is not None:
            self._empty(*found)

    def _empty(self, name: str, handle: int) -> None:
        """Remove the folder ``name`` of the root; its first one that is not empty moves beside it, and is next."""
        try:
            while (found := self._next_full(handle)) is not None:
                inner, inside = found
                moved = f"{self._token}-{next(self._numbers)}"
                try:
                    os.rename(inner, moved, src_dir_fd=handle, dst_dir_fd=self._root)
                except OSError:
                    os.close(inside)
                    raise
                os.close(handle)
                handle = inside
                with suppress(OSError):  # it has others: its turn comes again
                    os.rmdir(name, dir_fd=self._root)
                name = moved
            os.rmdir(name, dir_fd=self._root)
        except OSError as error:
            self._tell(name, error)
            self._stuck.add(name)
        finally:
            os.close(handle)

    def _next_full(self, folder: int, passed: set[str] | frozenset[str] = frozenset()) -> tuple[str, int] | None:
        """The first folder in ``folder`` that is not empty, open; all that comes before it is removed."""
        removed = True
        while removed:  # again until a whole pass removed nothing: what a listing shows while it shrinks is not sure
            removed = False
            with os.scandir(folder) as entries:
                for entry in entries:
                    if time.monotonic() > self._deadline:
                        raise TimeoutError(0, "it took too long")
                    if entry.name in passed:
                        continue
                    try:
                        if _is_gone(entry, folder):
                            removed = True
                        else:
                            return entry.name, _entered(entry.name, folder)
                    except OSError as error:
                        self._tell(entry.name, error)
        return None

    def _tell(self, name: str, error: OSError) -> None:
        self._told += 1
        if self._told <= MAX_TOLD:
            log.warning("cannot remove %.100r: %s", name, error.strerror)


def _is_gone(entry: os.DirEntry[str], folder: int) -> bool:
    """Remove what is no folder, or an empty one; False for one that is not empty."""
    if not entry.is_dir(follow_symlinks=False):
        os.unlink(entry.name, dir_fd=folder)
        return True
    try:
        os.rmdir(entry.name, dir_fd=folder)
    except OSError:
        return False
    return True


def _entered(name: str, within: int) -> int:
    """A handle of the folder, which its owner may list and change from now on."""
    try:
        handle = os.open(name, _ENTER, dir_fd=within)
    except PermissionError:
        _open_up(name, within)
        handle = os.open(name, _ENTER, dir_fd=within)
    mode = stat.S_IMODE(os.fstat(handle).st_mode)
    if mode & stat.S_IRWXU != stat.S_IRWXU:
        with suppress(PermissionError):  # another's, which root needs no permission for
            os.fchmod(handle, mode | stat.S_IRWXU)
    return handle


def _open_up(name: str, within: int) -> None:
    look = os.open(name, _LOOK, dir_fd=within)
    try:
        # By its number: the name could be a link by now, to something of the worker's own.
        os.chmod(f"/proc/self/fd/{look}", stat.S_IRWXU)
    finally:
        os.close(look)
