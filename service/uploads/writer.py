"""An upload that is being put together: files that are written to the store, within what may be stored, and kept ours.

Whoever serves the request says again and again that it lives; where it dies, another goes on, or all of it is swept.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

import structlog

from api_schemas.errors import LayercutError
from service.failures import log_failure
from service.uploads.ahead import ahead
from service.uploads.stores import Stores
from store.manifests import StoredFile
from store.stored_uploads import Writing
from store.tenants import LATER, QuotaExceeded
from store.upload_writing import HELD_SECONDS
from store.uploads import Upload

log = structlog.get_logger("layercut.uploads")

#: Between two looks at how much room a disk has, in bytes that are written.
ROOM_BYTES = 64 << 20
#: Of a large file, pieces of eight megabytes that are in memory while they are sent.
PARTS_AT_ONCE = 2


class Writer:
    """Of one upload. Use as a context manager: meanwhile the right to write it is renewed."""

    def __init__(self, stores: Stores, held: Writing) -> None:
        self.held, self._stores = held, stores
        self._ended, self._stopped = threading.Event(), threading.Event()
        self._renewing = threading.Thread(target=self._renew, name="upload-renewing", daemon=True)
        self._upload: Upload = stores.artifacts.upload(held.prefix, self._stopped.is_set, parts_at_once=PARTS_AT_ONCE)
        self._since_look = ROOM_BYTES
        self._refused: QuotaExceeded | None = None
        #: Of all files so far.
        self.bytes = 0

    def __enter__(self) -> Self:
        self._renewing.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._renewing.join()

    @property
    def most(self) -> int:
        """Bytes that may still be written: of one upload, and of the tenant."""
        room = self._stores.settings.upload_bytes if self.held.room is None else self.held.room
        return max(0, min(self._stores.settings.upload_bytes, room) - self.bytes)

    def check_fits(self, size: int) -> None:
        """Raise ``payload_too_large`` or ``quota_exceeded`` where ``size`` bytes more cannot be written."""
        if size > self.most:
            raise self._too_much()

    def put(self, name: str, size: int | None, blocks: Iterable[bytes], *, most: int = 0) -> StoredFile:
        """``most``: bytes that a file of no known ``size`` may have, where that is known.

        Raises ``payload_too_large``, ``quota_exceeded``, ``storage_full``, and as ``Upload.put``.
        """
        self.check_fits(size or 0)
        return self._upload.put(name, size, ahead(self._within(blocks)), most=most)

    def keep(self, prefix: str, name: str, blocks: Iterable[bytes], most: int) -> int:
        """Write a file that is none of the upload's, beside it; its size. Raises as ``put``."""
        before = self.bytes
        self._stores.artifacts.upload(prefix, self._stopped.is_set).put(
            name, None, self._within(blocks), most=self.most
        )
        size, self.bytes = self.bytes - before, before
        return size

    def finish(self) -> str:
        """Write the list of the files; its sha256."""
        self._upload.finish()
        return self._stores.artifacts.pinned_manifest(self.held.prefix)[1]

    def stop(self) -> None:
        """Nobody waits for the upload any more; between two blocks ``UploadStopped`` is raised."""
        self._stopped.set()

    def _within(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        for block in blocks:
            self.check_fits(len(block))
            self.bytes += len(block)
            self._since_look += len(block)
            if self._since_look >= ROOM_BYTES:
                self._since_look = 0
                self._stores.check_room()
                self._hold()
            if self._refused is not None:
                raise self._refused
            yield block

    def _too_much(self) -> LayercutError:
        limit = self._stores.settings.upload_bytes
        if self.held.room is not None and self.held.room < limit:
            return QuotaExceeded(
                f"your quota artifact_bytes has room for {self.held.room} bytes, and this is more", LATER
            )
        return LayercutError(
            "payload_too_large", f"the files are larger than the {limit} bytes that LAYERCUT_UPLOAD_BYTES allows",
            details={"limit": limit},
        )  # fmt: skip

    def _renew(self) -> None:
        while not self._ended.wait(HELD_SECONDS / 3):
            self._hold()

    def _hold(self) -> None:
        """Renew the right, and count what is written: two at once, each of which fits, may be too much together."""
        try:
            if not self._stores.uploads.renew(self.held, self.bytes):
                self._stopped.set()
            self._refused = None  # there is room by now
        except QuotaExceeded as error:
            self._refused = error
        except Exception as error:  # noqa: BLE001 - the next time it may work again
            with suppress(Exception):
                log_failure(log, "upload_not_renewed", error, upload=self.held.upload_id)
