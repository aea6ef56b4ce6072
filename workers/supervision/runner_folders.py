"""Folders that a runner may write to: entered and filled by handle; what is taken from them is a copy.

A runner can put a link, a pipe or another folder in the place of any name, at any moment, and it can go on writing to
a file that it holds open. So no link is followed, what counts is what is open, and no file of a runner's is ever a
file of ours under a second name.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from sources.beneath import NotRegular
from sources.staging import SPARE_BYTES

#: Of one folder, which has no folders in it: a checkpoint has two, the largest thing of the cache five.
MAX_FILES = 64
#: Between two questions whether anybody still waits.
BLOCK = 64 * 2**20

_ENTER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a pipe would wait for its writer, and a file with a lease on it for the lease's holder.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
#: What a disk says that cannot give a file a second name.
_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP)


@contextmanager
def entered(root: Path, *names: str) -> Iterator[int]:
    """A handle of the folder that ``names`` lead to, one in the other, beneath ``root``, which no runner can replace.

    Raises ``OSError``, also where one of ``names`` is a link.
    """
    with ExitStack() as stack:
        # The worker's own folders may be reached through links.
        handle = _opened(stack, root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for name in names:
            handle = _opened(stack, name, _ENTER, handle)
        yield handle


@contextmanager
def entered_in(within: int, name: str) -> Iterator[int]:
    """A handle of the folder ``name`` in the open folder ``within``. Raises as ``entered``."""
    with ExitStack() as stack:
        yield _opened(stack, name, _ENTER, within)


@contextmanager
def opened_file(within: int, name: str) -> Iterator[int]:
    """A handle, to read from, of the file ``name`` in the open folder ``within``.

    Raises ``NotRegular`` for anything else, and for a file that has a second name: that may be a file of the host.
    """
    with ExitStack() as stack:
        handle = _opened(stack, name, _READ, within)
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise NotRegular(errno.EINVAL, "is no regular file", name)
        if status.st_nlink > 1:
            raise NotRegular(errno.EINVAL, "has a second name", name)
        yield handle


@contextmanager
def made_folder(within: int, name: str) -> Iterator[int]:
    """A handle of the folder ``name`` in the folder ``within``, made where there is none. Raises as ``entered``."""
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=within)
    with ExitStack() as stack:
        handle = _opened(stack, name, _ENTER, within)
        os.fchmod(handle, 0o755)  # whatever the umask is: the runner may be another user
        yield handle


def copy_files(
    source: int,
    target: int,
    *,
    limit: int | None = None,
    names: Collection[str] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> int:
    """Copy the files of the folder ``source``, of ``names`` those that are there, into ``target``; how many bytes.

    Raises ``NotRegular`` for anything else, and for a file that has a second name: that may be a file of the host.
    Raises ``OSError`` for more than ``limit`` bytes or ``MAX_FILES``, where the disk has no room, where a file gets
    shorter, and where ``stopped`` says so. What was copied until then is left in ``target``.
    """
    with _open_files(source, names) as files:
        found = {name: os.fstat(file) for name, file in files.items()}
        for name, status in found.items():
            if status.st_nlink > 1:
                raise NotRegular(errno.EINVAL, "has a second name", name)
        total = sum(status.st_size for status in found.values())
        if limit is not None and total > limit:
            raise OSError(errno.EFBIG, f"{total} bytes are more than the {limit} that are taken")
        # Counted by what the files say to have: a sparse one takes no room until it is copied.
        check_room(target, total)
        for name, file in files.items():
            copy_file(file, found[name].st_size, target, name, stopped)
    return total


def link_files(source: int, target: int) -> None:
    """Have the files of the folder ``source`` in ``target`` under a second name; copies where the disk cannot do that.

    For files that nobody changes, and folders of which no runner can write to either. Raises as ``copy_files``.
    """
    with _open_files(source) as files:
        for name, file in files.items():
            try:
                os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                copy_file(file, os.fstat(file).st_size, target, name, lambda: False)


@contextmanager
def _open_files(folder: int, names: Collection[str] | None = None) -> Iterator[dict[str, int]]:
    """All at once, before the first is read: what takes their names meanwhile changes nothing."""
    files: dict[str, int] = {}
    with ExitStack() as stack:
        for name in _names(folder) if names is None else names:
            try:
                file = files[name] = _opened(stack, name, _READ, folder)
            except FileNotFoundError:
                if names is None:
                    raise
                continue
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise NotRegular(errno.EINVAL, "is no regular file", name)
        yield files


def _names(folder: int) -> list[str]:
    with os.scandir(folder) as entries:
        found = [entry.name for entry, _ in zip(entries, range(MAX_FILES + 1), strict=False)]
    if len(found) > MAX_FILES:
        raise OSError(errno.EFBIG, f"more than {MAX_FILES} files")
    return found


def _opened(stack: ExitStack, path: Path | str, flags: int, within: int | None = None) -> int:
    handle = os.open(path, flags, dir_fd=within)
    stack.callback(os.close, handle)
    return handle


def check_room(folder: int, size: int) -> None:
    """Raise ``OSError`` where the disk of the open ``folder`` has no room for ``size`` bytes."""
    disk = os.fstatvfs(folder)
    if size + SPARE_BYTES > (free := disk.f_bavail * disk.f_frsize):
        raise OSError(errno.ENOSPC, f"the worker's disk has no room for {size} bytes: {free} are free")


def copy_file(source: int, size: int, folder: int, name: str, stopped: Callable[[], bool]) -> None:
    """``size`` bytes of the open file, however many there are by then, as ``name`` in the open ``folder``.

    Raises ``OSError`` as ``copy_files`` does.
    """
    target = os.open(name, _CREATE, 0o644, dir_fd=folder)
    try:
        os.fchmod(target, 0o644)
        left = size
        while left:
            if stopped():
                raise OSError(errno.ECANCELED, "nobody waits for the copy any more", name)
            if not (done := _transfer(source, target, min(left, BLOCK))):
                raise OSError(errno.EIO, "got shorter while it was copied", name)
            left -= done
    finally:
        os.close(target)


def _transfer(source: int, target: int, size: int) -> int:
    """Of ``size`` bytes, as many as one step takes: how many; 0 at the end of the file."""
    if hasattr(os, "copy_file_range"):
        with suppress(OSError):  # not on this disk, or not between these two; or else what follows says what is wrong
            return os.copy_file_range(source, target, size)
    block = memoryview(os.read(source, min(size, 2**20)))
    left = block
    while left:
        left = left[os.write(target, left) :]
    return len(block)
