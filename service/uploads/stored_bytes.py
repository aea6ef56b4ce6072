"""Bytes in the artifact store as files to read from: ranges, the parts of one file, a file that can be sought in."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from store.artifacts import ArtifactStore
from store.upload_parts import Part
from store.upload_rows import parts_of

#: What a file that is sought in reads at a time.
READ_BYTES = 4 << 20

#: Gives the bytes from a first up to, not including, a last.
Read = Callable[[int, int], Iterable[bytes]]


def file_reader(artifacts: ArtifactStore, prefix: str, name: str) -> Read:
    """Raises ``file_not_found``."""
    return partial(artifacts.open_range, prefix, name)


def parts_reader(artifacts: ArtifactStore, upload_id: str, parts: Sequence[Part]) -> Read:
    """Of a file that came in ``parts``; raises ``file_not_found`` for one that is not there."""

    def read(start: int, end: int) -> Iterator[bytes]:
        for part in parts:
            first, last = max(start, part.start), min(end, part.start + part.bytes)
            if first < last:
                yield from artifacts.open_range(parts_of(upload_id), part.path, first - part.start, last - part.start)

    return read


class Blocks(io.RawIOBase):
    """A file of the ``blocks`` of one, to be read from the first to the last."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks, self._rest = blocks, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, target: bytearray | memoryview) -> int:  # type: ignore[override]
        if not self._rest:
            self._rest = memoryview(next(self._blocks, b""))
        count = min(len(target), len(self._rest))
        target[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


class Sought(io.RawIOBase):
    """A file of ``size`` bytes that ``read`` gives, to be sought in."""

    def __init__(self, size: int, read: Read) -> None:
        self._size, self._read, self._at = size, read, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, target: bytearray | memoryview) -> int:  # type: ignore[override]
        end = min(self._at + len(target), self._size)
        count = 0
        for block in self._read(self._at, end) if self._at < end else ():
            target[count : count + len(block)] = block
            count += len(block)
        self._at += count
        return count


def sought(size: int, read: Read) -> io.BufferedReader:
    return io.BufferedReader(Sought(size, read), READ_BYTES)
