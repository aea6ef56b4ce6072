"""The layout of an artifact's tar: which bytes are headers and padding, and which are those of a file.

It follows from names and sizes alone, so the same list gives the same tar, and any part of it can be made without the
rest. Weights do not compress, and an uncompressed tar can be resumed anywhere.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True)
class FilePart:
    """``count`` bytes of the file ``name``, from byte ``start`` on."""

    name: str
    start: int
    count: int


#: A run of bytes: themselves, or where they are.
Piece = bytes | FilePart


@dataclass(frozen=True)
class TarLayout:
    """The tar of ``files``, as (name, bytes), in that order, in the one folder ``top``."""

    files: tuple[tuple[str, int], ...]
    top: str

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(_length(piece) for piece in self.pieces())

    def pieces(self, start: int = 0, end: int | None = None) -> Iterator[Piece]:
        """What its bytes ``start`` up to, not including, ``end`` are; all of them without an ``end``."""
        position = 0
        for piece in self._all():
            length = _length(piece)
            first, last = max(start - position, 0), length if end is None else min(end - position, length)
            if first < last:
                yield _cut(piece, first, last)
            position += length
            if end is not None and position >= end:
                return

    def _all(self) -> Iterator[Piece]:
        framing = Framing(self.top)
        for name, size in self.files:
            yield framing.header(name, size)
            yield FilePart(name, 0, size)
            yield framing.padding()
        yield framing.ending()


class Framing:
    """What stands between the files of a tar, for who goes through them once, in their order."""

    def __init__(self, top: str) -> None:
        self._top = PurePosixPath(top)
        self._folders: set[PurePosixPath] = set()
        self._sent = 0

    def header(self, name: str, size: int) -> bytes:
        """What comes before the file; a folder comes before the first file that is in it."""
        path = self._top / name
        new = [folder for folder in reversed(path.parents) if folder.name and folder not in self._folders]
        self._folders.update(new)
        found = b"".join(_member(folder, 0, tarfile.DIRTYPE, 0o755) for folder in new)
        found += _member(path, size, tarfile.REGTYPE, 0o644)
        self._sent += len(found) + size
        return found

    def padding(self) -> bytes:
        """What comes behind it."""
        return self._zeros(tarfile.BLOCKSIZE)

    def ending(self) -> bytes:
        """What comes behind the last."""
        self._sent += 2 * tarfile.BLOCKSIZE
        return bytes(2 * tarfile.BLOCKSIZE) + self._zeros(tarfile.RECORDSIZE)

    def _zeros(self, unit: int) -> bytes:
        found = bytes(-self._sent % unit)
        self._sent += len(found)
        return found


class ArchiveDigest:
    """Size and sha256 of the tar of files that come by one after the other. ``add`` may be left half done for good."""

    def __init__(self, top: str) -> None:
        self._framing, self._digest = Framing(top), hashlib.sha256()
        self.size = 0

    def add(self, name: str, size: int, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """Yields the ``blocks`` of the file ``name``, of ``size`` bytes in all, as they are."""
        self._update(self._framing.header(name, size))
        for block in blocks:
            self._update(block)
            yield block
        self._update(self._framing.padding())

    def finish(self) -> str:
        """The sha256, in hex; nothing can be added then."""
        self._update(self._framing.ending())
        return self._digest.hexdigest()

    def _update(self, data: bytes) -> None:
        self._digest.update(data)
        self.size += len(data)


def _length(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else piece.count


def _cut(piece: Piece, first: int, last: int) -> Piece:
    if isinstance(piece, bytes):
        return piece[first:last]
    return FilePart(piece.name, piece.start + first, last - first)


def _member(path: PurePosixPath, size: int, kind: bytes, mode: int) -> bytes:
    """Of nobody, and of no time."""
    member = tarfile.TarInfo(path.as_posix())
    member.size, member.mode, member.type = size, mode, kind
    return member.tobuf(tarfile.PAX_FORMAT)
