"""Files of uploads and object stores that were fetched to be looked at: in a folder of bounded size, each once.

Processes may share the folder. What tells them of each other are locks of the system, which end with their process: a
file is fetched under its note's lock, and whoever reads it holds a share of that lock: it does not go meanwhile.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from api_schemas.errors import LayercutError
from sources.fingerprint import digest

NOTE, PART = ".json", ".part"

#: Gives the bytes of a file from a first up to, not including, a last.
ReadRange = Callable[[int, int], Iterable[bytes]]
Span = tuple[int, int]
#: ``sha256`` is None where only parts of the file are here.
Note = dict[str, str | None]


@dataclass(frozen=True)
class Wanted:
    """A file of ``size`` bytes, or some ``spans`` of it. ``identity``: what is never another content's."""

    identity: tuple[str | int | None, ...]
    size: int
    read: ReadRange
    spans: tuple[Span, ...] = ()

    @property
    def key(self) -> str:
        return digest("fetched", identity=self.identity, size=self.size, spans=self.spans)

    @property
    def parts(self) -> tuple[Span, ...]:
        return self.spans or ((0, self.size),)

    @property
    def fetched(self) -> int:
        """In bytes."""
        return sum(end - start for start, end in self.parts)


@dataclass(frozen=True)
class Fetched:
    """A file that is here. ``bytes`` are those of the whole one; ``sha256`` is None where only parts of it are here."""

    path: Path
    bytes: int
    sha256: str | None

    @property
    def is_whole(self) -> bool:
        return self.sha256 is not None


class FetchedFiles:
    """All of them have ``most`` bytes together; those that were wanted longest ago go first. Several may share it."""

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most = folder, most

    @contextmanager
    def held(self, wanted: Wanted) -> Iterator[Fetched]:
        """The file, which stays there meanwhile. Whoever else wants it now waits for who fetches it.

        Raises what reading raises, ``ceiling_passed`` for one that is too large for the folder, ``too_busy`` where all
        that is there is in use.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path, found = self._folder / wanted.key, None
        while found is None:
            with _locked(path.with_suffix(NOTE), fcntl.LOCK_SH) as handle:
                found = _known(handle, path)
                if found is not None:
                    os.utime(handle)
                    yield Fetched(path, wanted.size, found["sha256"])
                    return
            with _locked(path.with_suffix(NOTE), fcntl.LOCK_EX) as handle:
                if _known(handle, path) is None:
                    self._make_room(wanted)
                    _write_note(handle, _fetch(wanted, path))

    def _make_room(self, wanted: Wanted) -> None:
        if wanted.fetched > self._most:
            text = f"a file of {wanted.fetched} bytes is more than LAYERCUT_FETCHED_BYTES ({self._most}) has room for"
            raise LayercutError("ceiling_passed", text)
        notes = sorted(self._folder.glob(f"*{NOTE}"), key=_age)
        sizes = {note: sum(map(_size, _files_of(note))) for note in notes}
        over = sum(sizes.values()) + wanted.fetched - self._most
        for note in notes:
            if over <= 0:
                return
            if note.stem != wanted.key and _remove(note):
                over -= sizes[note]
        if over > 0:
            raise LayercutError("too_busy", "all files that were fetched are being looked at; try again later")


@contextmanager
def _locked(note: Path, how: int) -> Iterator[int]:
    """The note, which nobody has removed."""
    while True:
        handle = os.open(note, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, how)
            if _is_at(handle, note):
                yield handle
                return
        finally:
            os.close(handle)


def _is_at(handle: int, note: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), note.stat())
    except FileNotFoundError:
        return False


def _remove(note: Path) -> bool:
    """Whether its file could go: it is in nobody's use."""
    try:
        handle = os.open(note, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for path in _files_of(note):
            path.unlink(missing_ok=True)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(handle)


def _fetch(wanted: Wanted, path: Path) -> Note:
    """Write the file, and then let it be seen; what is noted of it."""
    part, found = path.with_suffix(PART), sha256()
    try:
        with part.open("wb") as target:
            target.truncate(wanted.size)
            for start, end in wanted.parts:
                target.seek(start)
                for block in _exactly(wanted.read(start, end), end - start):
                    target.write(block)
                    found.update(block)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return {"sha256": None if wanted.spans else found.hexdigest()}


def _exactly(blocks: Iterable[bytes], count: int) -> Iterator[bytes]:
    """Raises ``source_unavailable`` where they are more or fewer than ``count`` bytes."""
    came = 0
    for block in blocks:
        came += len(block)
        if came > count:
            break
        yield block
    if came != count:
        raise LayercutError("source_unavailable", f"of {count} bytes that were asked for {came} came")


def _known(handle: int, path: Path) -> Note | None:
    """What is noted of the file, where it is there."""
    with suppress(ValueError):
        known = json.loads(os.pread(handle, 4096, 0))
        return known if isinstance(known, dict) and "sha256" in known and path.exists() else None
    return None


def _write_note(handle: int, known: Note) -> None:
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps(known).encode(), 0)


def _files_of(note: Path) -> tuple[Path, ...]:
    """The note last: while it is there, so is what it says."""
    return note.with_suffix(""), note.with_suffix(PART), note


def _size(path: Path) -> int:
    """On the disk: parts of a file leave holes."""
    with suppress(FileNotFoundError):
        return path.stat().st_blocks * 512
    return 0


def _age(note: Path) -> float:
    with suppress(FileNotFoundError):
        return note.stat().st_mtime
    return time.time()
