"""Whether files are still as they were when they were hashed: what a job's fingerprint says was read, was read then."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence


def as_they_were(files: Iterable[Sequence[object]] | None) -> bool:
    """Whether each of ``FileHashes.seen`` is unchanged: since then it was the same for whoever read it.

    By its ctime, which no program can set back. None: not known, of jobs of before.
    """
    return files is not None and all(_state(str(path)) == list(state) for path, *state in files)


def _state(path: str) -> list[int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return [found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
