"""Parts of a file, as they come in: written to the store in pieces of some megabytes, each counted once it is there.

Whatever breaks off in the midst of a request, the pieces before it need not be sent again.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass

from starlette.requests import ClientDisconnect

from api_schemas.errors import LayercutError
from service.uploads.body import Body
from service.uploads.stores import Stores
from store.stored_uploads import Sending
from store.upload_rows import parts_of
from store.uploads import PART_BYTES, UploadStopped

HEADER = "Content-Range"
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


@dataclass(frozen=True)
class Range:
    """The bytes from ``start`` up to, not including, ``end`` of a file; ``total`` None where it is not said."""

    start: int
    end: int
    total: int | None


def parse_content_range(header: str) -> Range:
    """Raises ``validation_failed``."""
    found = _RANGE.fullmatch(header.strip())
    start, end = (int(found[1]), int(found[2]) + 1) if found else (0, 0)
    total = int(found[3]) if found and found[3] != "*" else None
    if start >= end or (total is not None and end > total):
        text = f"{header[:80]!r} is no range of a file: send bytes FIRST-LAST/TOTAL, as in bytes 0-1023/4096"
        raise LayercutError("validation_failed", text, param=HEADER)
    return Range(start, end, total)


def check_range(asked: Range | None, size: int, name: str, announced: int | None) -> Range:
    """The bytes of a file of ``size`` bytes that a body of ``announced`` bytes is; without a range, all of them.

    Raises ``validation_failed``, and ``payload_too_large`` for more than the file was to have.
    """
    part = asked or Range(0, size, size)
    if part.end > size or (asked is None and announced is not None and announced > size):
        raise LayercutError(
            "payload_too_large", f"{name} was announced with {size} bytes, and this is more", details={"limit": size}
        )
    if part.total not in (None, size):
        text = f"{name} was announced with {size} bytes, and {HEADER} says {part.total}"
        raise LayercutError("validation_failed", text, param=HEADER)
    if announced is not None and announced != part.end - part.start:
        raise LayercutError(
            "validation_failed", f"the body has {announced} bytes, and the part {part.end - part.start}", param=HEADER
        )
    return part


class PartReceiver:
    """Of one request."""

    def __init__(self, stores: Stores) -> None:
        self._stores, self._stopped = stores, False

    def stop(self) -> None:
        self._stopped = True

    def receive(self, sending: Sending, body: Body, count: int) -> None:
        """Take the ``count`` bytes that ``body`` may have at most, in a thread. Raises as ``UploadStore.count_part``,
        ``storage_full``, ``ClientDisconnect``, and ``validation_failed`` where there are fewer.
        """
        end, gathered = sending.start + count, bytearray()
        try:
            for block in body.blocks():
                gathered += block
                if len(gathered) >= PART_BYTES:
                    sending = self._write(sending, gathered)
                    gathered = bytearray()
        except ClientDisconnect:
            self._write(sending, gathered)
            raise
        sending = self._write(sending, gathered)
        if sending.start < end:
            raise LayercutError(
                "validation_failed", f"the body ends {end - sending.start} bytes before the part: go on from there",
                details={"offset": sending.start},
            )  # fmt: skip

    def _write(self, sending: Sending, data: bytearray) -> Sending:
        if self._stopped:
            raise UploadStopped
        if not data:
            return sending
        self._stores.check_room()
        prefix = parts_of(sending.upload_id)
        self._stores.artifacts.write(prefix, sending.part, data)
        try:
            return self._stores.uploads.count_part(sending, len(data))
        except LayercutError:
            # It was refused, and is nobody's. After any other error it may be counted all the same.
            with suppress(Exception):  # it is swept with the rest
                self._stores.artifacts.discard(prefix, [sending.part])
            raise
