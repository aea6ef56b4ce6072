"""Puts the files of one artifact into the store, hashed as they are sent, and the list of them last."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import obstore
from obstore.store import ObjectStore

from api_schemas.errors import LayercutError
from store import manifests
from store.archives import ArchiveDigest
from store.manifests import MANIFEST, Archive, Manifest, StoredFile, media_type
from store.paths import full_disk_reported, store_path
from store.places import Place

if TYPE_CHECKING:
    from obstore import Attributes

CHUNK_BYTES = 1 << 20
#: A smaller file is sent as it is, a larger one in parts: object stores take ten thousand of them at most.
PART_BYTES = 8 << 20
MAX_PARTS = 9_000
PARTS_AT_ONCE = 4


class UploadStopped(Exception):
    """Nobody waits for the files any more."""


class Upload:
    """The files of one artifact, in the order of its tar, which has the folder ``top``; None for no tar.

    After a ``put`` that raised, begin anew with another ``Upload`` of the same prefix: what is there is written over.
    With ``resumed``, a file that is there with the right size is not sent again: for who sends the same bytes again.
    """

    def __init__(
        self,
        store: ObjectStore,
        prefix: str,
        stopped: Callable[[], bool],
        top: str | None = None,
        *,
        resumed: bool = False,
        place: Place,
        is_folder: bool,
        parts_at_once: int = PARTS_AT_ONCE,
    ) -> None:
        """``parts_at_once``: of a large file, in memory."""
        self._store, self._prefix, self._stopped, self._top, self._resumed = store, prefix, stopped, top, resumed
        self._place, self._is_folder, self._parts_at_once = place, is_folder, parts_at_once
        self._files: dict[str, StoredFile] = {}
        self._archive = None if top is None else ArchiveDigest(top)

    def put(self, name: str, size: int | None, blocks: Iterable[bytes], *, most: int = 0) -> StoredFile:
        """Send the file ``name``, ``size`` bytes in ``blocks``; None where that shows at its end, after ``most`` bytes.

        Raises ``export_failed`` for a name that is taken, or reserved for the manifest, and for another size;
        ``storage_full``, ``storage_unavailable`` and ``UploadStopped``. A file not sent to its end is not there.
        """
        path = store_path(self._prefix, name)
        # In any letters, and in any folder: some disks know no difference, and a manifest below is one of its own.
        if PurePosixPath(name).name.casefold() == MANIFEST or name in self._files:
            raise LayercutError("export_failed", f"a file cannot be called {name[:200]!r}: the name is taken")
        digest, sent = hashlib.sha256(), 0

        def counted() -> Iterator[bytes]:
            nonlocal sent
            for block in blocks:
                if self._stopped():
                    raise UploadStopped
                digest.update(block)
                sent += len(block)
                yield block
            if size is not None and sent != size:
                raise LayercutError("export_failed", f"{name[:200]} was to have {size} bytes, and has {sent}")

        if size is None:
            self._send_unmeasured(path, most, counted())
        else:
            self._send(path, size, self._archive.add(name, size, counted()) if self._archive else counted())
        file = StoredFile(name=name, bytes=sent, sha256=digest.hexdigest(), media_type=media_type(name))
        self._files[name] = file
        return file

    def finish(self) -> Manifest:
        """The artifact is whole. Raises as ``put``, also where the list itself is too long."""
        if self._stopped():
            raise UploadStopped
        manifest = Manifest(files=list(self._files.values()))
        if self._archive and self._top is not None:
            sha256 = self._archive.finish()
            manifest.archive = Archive(name=f"{self._top}.tar", top=self._top, bytes=self._archive.size, sha256=sha256)
            if manifest.layout(self._top).size != self._archive.size:
                raise LayercutError("export_failed", "a file was not sent to its end, and is in no tar")
        body = manifest.model_dump_json(indent=1).encode()
        if len(body) > manifests.MAX_MANIFEST_BYTES:
            raise LayercutError("export_failed", f"the list of the {len(self._files)} files has {len(body)} bytes")
        with self._place.there(), full_disk_reported():
            obstore.put(self._store, store_path(self._prefix, MANIFEST), body)
        return manifest

    def _send(self, path: str, size: int, blocks: Iterable[bytes]) -> None:
        with self._place.there(), full_disk_reported():
            if self._resumed and self._is_there(path, size):
                deque(blocks, maxlen=0)  # hashed all the same
            elif size <= PART_BYTES:
                obstore.put(self._store, path, b"".join(blocks), attributes=self._attributes(path))
            else:
                self._send_parts(path, size, blocks)

    def _send_unmeasured(self, path: str, most: int, blocks: Iterator[bytes]) -> None:
        """As ``_send``, of a file whose size shows at its end: a small one is sent as it is, too."""
        with self._place.there(), full_disk_reported():
            first, size = list[bytes](), 0
            while size <= PART_BYTES and (block := next(blocks, None)) is not None:
                first.append(block)
                size += len(block)
            if size <= PART_BYTES:
                obstore.put(self._store, path, b"".join(first), attributes=self._attributes(path))
            else:
                self._send_parts(path, max(most, size), chain(first, blocks))

    def _send_parts(self, path: str, size: int, blocks: Iterable[bytes]) -> None:
        part = max(PART_BYTES, -(-size // MAX_PARTS))
        obstore.put(
            self._store, path, iter(blocks), chunk_size=part, max_concurrency=self._parts_at_once,
            attributes=self._attributes(path),
        )  # fmt: skip

    def _attributes(self, path: str) -> Attributes | None:
        """What an object store says of the file where it sends it itself; a folder keeps no such thing."""
        return None if self._is_folder else {"Content-Type": media_type(path)}

    def _is_there(self, path: str, size: int) -> bool:
        try:
            return bool(obstore.head(self._store, path)["size"] == size)
        except FileNotFoundError:
            return False


def blocks_of(path: Path) -> Iterator[bytes]:
    """What is in the file."""
    with path.open("rb") as file:
        while block := file.read(CHUNK_BYTES):
            yield block


def plain_files(folder: Path) -> list[Path]:
    """All that are in it, sorted; raises ``export_failed`` for anything that is neither a file nor a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    for path in paths:
        if path.is_symlink() or not path.is_file():
            raise LayercutError("export_failed", f"{path.relative_to(folder)} is not a plain file")
    return paths
