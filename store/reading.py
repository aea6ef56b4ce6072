"""Files of an artifact on their way out: open handles where they lie in a folder, and elsewhere read ahead."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import BinaryIO

import obstore
from obstore.store import ObjectStore

from store.archives import FilePart
from store.folders import StoreFolder
from store.paths import store_path

#: Of a file, what is read at a time, and how many such reads are under way: together what one download has in memory.
READ_BYTES = 1 << 20
READS_AT_ONCE = 4

#: Files that are held open for downloads of several, in this process. Each is a descriptor: where there are more, a
#: download opens them as it comes to them, and breaks off at one that was deleted by then.
MAX_HELD = 1024


class OpenFiles:
    """Some files of one artifact. Close it."""

    async def blocks(self, part: FilePart) -> AsyncIterator[bytes]:
        """What is in the part. Raises ``OSError`` where there is less, and whatever the store raises."""
        waiting: deque[asyncio.Task[bytes]] = deque()
        end = part.start + part.count
        try:
            for start in range(part.start, end, READ_BYTES):
                waiting.append(asyncio.create_task(self._whole(part.name, start, min(READ_BYTES, end - start))))
                if len(waiting) == READS_AT_ONCE:
                    yield await waiting.popleft()
            while waiting:
                yield await waiting.popleft()
        finally:
            for left in waiting:
                left.cancel()

    def handle(self, name: str) -> BinaryIO | None:
        """The file itself, for the kernel to send from; None where it lies in no folder."""
        return None

    def close(self) -> None:
        """Nothing can be read then."""

    async def _read(self, name: str, start: int, count: int) -> bytes:
        raise NotImplementedError

    async def _whole(self, name: str, start: int, count: int) -> bytes:
        found = await self._read(name, start, count)
        if len(found) != count:
            raise OSError(0, f"{name} has become shorter than it was")
        return found


class StoredObjects(OpenFiles):
    """In an object store. Raises ``FileNotFoundError`` where the first is not there; of others it shows later."""

    def __init__(self, store: ObjectStore, prefix: str, names: Sequence[str]) -> None:
        self._store, self._prefix = store, prefix
        for name in names[:1]:
            obstore.head(store, store_path(prefix, name))

    async def _read(self, name: str, start: int, count: int) -> bytes:
        path = store_path(self._prefix, name)
        return bytes(await obstore.get_range_async(self._store, path, start=start, length=count))


class HeldFiles(OpenFiles):
    """In a folder, and open: deleting them harms nobody who reads. Raises ``OSError`` where one cannot be opened."""

    def __init__(self, folder: StoreFolder, prefix: str, names: Sequence[str]) -> None:
        self._folder, self._prefix = folder, prefix
        self._files: dict[str, BinaryIO] = {}
        self._reserved = len(names) if len(names) > 1 and _held.take(len(names)) else 0
        try:
            for name in names if self._reserved else names[:1]:
                self._open(name)
        except BaseException:
            self.close()
            raise

    def handle(self, name: str) -> BinaryIO:
        if name not in self._files:
            self._close_files()
            self._open(name)
        return self._files[name]

    def close(self) -> None:
        self._close_files()
        _held.give_back(self._reserved)
        self._reserved = 0

    def _open(self, name: str) -> None:
        self._files[name] = self._folder.open(store_path(self._prefix, name))

    def _close_files(self) -> None:
        while self._files:
            self._files.popitem()[1].close()

    async def _read(self, name: str, start: int, count: int) -> bytes:
        return await asyncio.to_thread(os.pread, self.handle(name).fileno(), count, start)


class _Held:
    """How many files are held open."""

    def __init__(self) -> None:
        self._lock, self._count = threading.Lock(), 0

    def take(self, count: int) -> bool:
        with self._lock:
            if self._count + count > MAX_HELD:
                return False
            self._count += count
            return True

    def give_back(self, count: int) -> None:
        with self._lock:
            self._count -= count


_held = _Held()
