"""The same files under a second name, where the disk can do that; copies where it cannot."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path


def link_tree(source: Path, target: Path) -> None:
    """Have the regular files of ``source``, a folder with folders, in ``target``, which is made. Others are left out.

    For files that nobody changes: both names are of one file. Links are not followed, whoever puts one in place.
    """
    target.mkdir(parents=True, exist_ok=True)
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                link_tree(Path(entry.path), target / entry.name)
            elif entry.is_file(follow_symlinks=False):
                _link(Path(entry.path), target / entry.name)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
            raise
        _copy(source, target)
    if not stat.S_ISREG(target.lstat().st_mode):
        target.unlink()


def _copy(source: Path, target: Path) -> None:
    handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file, target.open("xb") as copy:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            shutil.copyfileobj(file, copy, 1 << 20)
