"""The cache as a job sees it: what any job made before is not made again. Imports no torch and no store."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from workers.protocol import CacheKind
from workers.removal import remove_tree

#: Writes a thing's files into an empty folder, and no folders.
Fill = Callable[[Path], None]

MADE = "made.json"
FILES = "files"
#: The folder of the parts; no kind of thing is called so.
PARTS = "of"
#: What was used this lately is not evicted: someone may be about to open it. What is open outlives its name.
FRESH_SECONDS = 600.0


@dataclass(frozen=True)
class CacheEntry:
    """``folder`` is whole, and for reading only. ``seconds`` is what making it took, whoever made it."""

    folder: Path
    reused: bool
    seconds: float


class Cache(Protocol):
    """``root`` is a folder of this host that outlives the job: for notes such as the hashes of large files."""

    @property
    def root(self) -> Path: ...

    def get(self, kind: CacheKind, fingerprint: str, make: Fill) -> CacheEntry:
        """The thing of that fingerprint. Where it is not there, ``make`` fills the empty folder that it is given.

        Of all that ask at once one makes; the others wait for it. When the maker dies, another makes.
        """
        ...


class FolderCache:
    """A cache for the processes of one host: ``root/<kind>/<fingerprint>/files``, whole once beside ``made.json``.
    A part of it has a root of its own.

    The lock on the thing's folder is the kernel's: it goes with its holder, however that dies. Of more than
    ``max_bytes``, what was not used for longest is removed.
    """

    def __init__(self, root: Path, max_bytes: int, top: Path | None = None) -> None:
        self.root = root
        self.max_bytes = max_bytes
        #: What all parts of it lie in, for they share the room.
        self._top = top or root

    def part(self, name: str) -> FolderCache:
        """A cache of its own in the room of this one: what is in it is found in no other part."""
        return FolderCache(self._top / PARTS / name, self.max_bytes, self._top)

    def get(self, kind: str, fingerprint: str, make: Fill) -> CacheEntry:
        with _locked(self.root / kind / fingerprint) as place:
            if (found := _read(place)) is not None:
                return found
            began = time.perf_counter()
            folder = _filled(place, make)
            seconds = time.perf_counter() - began
            _mark(place, seconds)
        self._trim()
        return CacheEntry(folder, False, seconds)

    def find(self, kind: str, fingerprint: str) -> CacheEntry | None:
        """The thing where it is there."""
        if not (self.root / kind / fingerprint / MADE).exists():
            return None
        with _locked(self.root / kind / fingerprint) as place:
            return _read(place)

    def put(self, kind: str, fingerprint: str, fill: Fill, seconds: float) -> Path:
        """Keep a thing that was made elsewhere, and took ``seconds``: ``fill`` copies it. Where its files are now."""
        with _locked(self.root / kind / fingerprint) as place:
            if (found := _read(place)) is not None:
                return found.folder
            files = _filled(place, fill)
            _mark(place, seconds)
        self._trim()
        return files

    def _trim(self) -> None:
        """Fill room. A thing that is in someone's hands stays."""
        total = 0
        for used, size, place in sorted(self._things(), reverse=True):
            total += size
            if total > self.max_bytes and time.time() - used > FRESH_SECONDS:
                _remove(place)

    def _things(self) -> Iterator[tuple[float, int, Path]]:
        """(when it was used last, bytes, where) of each whole thing."""
        marks = [*self._top.glob(f"*/*/{MADE}"), *self._top.glob(f"{PARTS}/*/*/*/{MADE}")]
        for mark in marks:
            with suppress(OSError, ValueError):
                yield mark.stat().st_mtime, sum(json.loads(mark.read_text())["files"].values()), mark.parent


@contextmanager
def _locked(place: Path) -> Iterator[Path]:
    handle = _lock(place, fcntl.LOCK_EX)
    try:
        yield place
    finally:
        os.close(handle)


def _lock(place: Path, how: int) -> int:
    while True:
        place.mkdir(parents=True, exist_ok=True)
        handle = os.open(place, os.O_RDONLY)
        try:
            fcntl.flock(handle, how)
            # While we waited it may have been removed, and made anew by another: then ours is the lock of nothing.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), place.stat()):
                    return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _read(place: Path) -> CacheEntry | None:
    """The thing where it is whole, which then counts as used now."""
    try:
        made = json.loads((place / MADE).read_text())
        # A machine that lost power may have kept the names of files and lost what was in them.
        whole = _sizes(place / FILES) == made["files"]
        os.utime(place / MADE)
    except (OSError, ValueError):
        return None
    return CacheEntry(place / FILES, True, made["seconds"]) if whole else None


def _filled(place: Path, fill: Fill) -> Path:
    """The files, anew; nothing is left of them where ``fill`` raises."""
    files = place / FILES
    (place / MADE).unlink(missing_ok=True)
    remove_tree(files)
    files.mkdir()
    try:
        fill(files)
    except BaseException:
        remove_tree(place)
        raise
    return files


def _mark(place: Path, seconds: float) -> None:
    (place / "new.json").write_text(json.dumps({"seconds": seconds, "files": _sizes(place / FILES)}))
    (place / "new.json").rename(place / MADE)


def _sizes(folder: Path) -> dict[str, int]:
    """Of the regular files, by name. Raises ``OSError`` for a link in the folder's place."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        with os.scandir(handle) as entries:
            found = {entry.name: entry.stat(follow_symlinks=False) for entry in entries}
    finally:
        os.close(handle)
    return {name: status.st_size for name, status in found.items() if stat.S_ISREG(status.st_mode)}


def _remove(place: Path) -> None:
    try:
        handle = _lock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    try:
        (place / MADE).unlink(missing_ok=True)
        remove_tree(place)
    finally:
        os.close(handle)
