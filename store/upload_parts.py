"""Files that come in parts, in order: where each goes on, and which parts there are.

A part is a file of the artifact store that is written first and counted then, in one short transaction. What was
written and not counted, as its sender or its gateway died, is nobody's, and is swept with the rest.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from api_schemas.errors import LayercutError
from api_schemas.uploads import UploadedFile, UploadKind, UploadStatus
from store.columns import later
from store.upload_rows import files_of, found, locked
from store.upload_tables import upload_files, upload_parts, uploads

#: Of one file: each is a row, and a file of the store.
MAX_PARTS = 10_000


@dataclass(frozen=True)
class Part:
    """``path`` is beneath the upload's parts."""

    path: str
    start: int
    bytes: int


@dataclass(frozen=True)
class Sending:
    """The right to send to a file of ``bytes`` bytes from ``start`` on. A later request for the same file ends it."""

    upload_id: str
    kind: UploadKind
    tenant: str | None
    file: int
    name: str
    bytes: int
    start: int
    token: str

    @property
    def part(self) -> str:
        """Where the next part goes, beneath the parts of the upload. No two requests ever write to one place."""
        return _path(self.file, self.start, self.token)


def file_of(connection: Connection, upload_id: str, tenant: str | None, kind: UploadKind, name: str) -> UploadedFile:
    """Raises ``upload_not_found``, ``expired`` and ``file_not_found``."""
    found(connection, upload_id, tenant, kind)
    row = _named(files_of(connection, upload_id), name)
    return UploadedFile(name=row.name, bytes=row.bytes, received=row.received, sha256=row.sha256)


def begin(
    connection: Connection, upload_id: str, tenant: str | None, kind: UploadKind, name: str, *, start: int
) -> Sending:
    """Send to the file from ``start`` on; whoever sent to it before can do so no more.

    Raises as ``file_of``, ``upload_complete``, and ``upload_offset_mismatch`` where the file goes on elsewhere.
    """
    upload = locked(connection, upload_id, tenant, kind)
    file = _named(files_of(connection, upload_id), name)
    check_takes_parts(upload, file)
    if start != file.received:
        raise mismatch(file, f"it goes on at byte {file.received}, and the part begins at {start}")
    token = secrets.token_hex(8)
    _change(connection, upload_id, file.number, token=token)
    return Sending(upload_id, kind, tenant, file.number, file.name, file.bytes, start, token)


def count(connection: Connection, sending: Sending, size: int, *, unfinished_seconds: float) -> Sending:
    """``size`` bytes more are in the store, at ``sending.part``. What may be sent next.

    Raises as ``begin``, also where another request sends to the file by now.
    """
    upload = locked(connection, sending.upload_id, sending.tenant, sending.kind)
    file = _named(files_of(connection, sending.upload_id), sending.name)
    check_takes_parts(upload, file)
    if file.token != sending.token or file.received != sending.start:
        raise mismatch(file, "another request sends to it now")
    key = (upload_parts.c.upload_id == sending.upload_id, upload_parts.c.file == sending.file)
    if (connection.scalar(select(func.count()).select_from(upload_parts).where(*key)) or 0) >= MAX_PARTS:
        raise LayercutError(
            "payload_too_large",
            f"{file.name} came in {MAX_PARTS} parts already, the most that are taken: send larger ones",
        )
    row = {"upload_id": sending.upload_id, "file": sending.file, "start": sending.start, "token": sending.token}
    connection.execute(insert(upload_parts).values(**row, bytes=size))
    _change(connection, sending.upload_id, sending.file, received=sending.start + size)
    values = {"expires_at": later(unfinished_seconds)}
    connection.execute(update(uploads).where(uploads.c.id == sending.upload_id).values(**values))
    return replace(sending, start=sending.start + size)


def parts(connection: Connection, upload_id: str, file: int) -> list[Part]:
    """Those of one file, in order."""
    query = select(upload_parts).where(upload_parts.c.upload_id == upload_id, upload_parts.c.file == file)
    return [
        Part(_path(row.file, row.start, row.token), row.start, row.bytes)
        for row in connection.execute(query.order_by(upload_parts.c.start))
    ]


def begin_again(connection: Connection, upload_id: str, file: int) -> None:
    """The file is to be sent once more, from its first byte on; what is in the store of it is nobody's."""
    connection.execute(delete(upload_parts).where(upload_parts.c.upload_id == upload_id, upload_parts.c.file == file))
    _change(connection, upload_id, file, received=0, token=None)


def check_takes_parts(upload: Row[Any], file: Row[Any]) -> None:
    """Raise ``upload_complete`` where nothing more is taken, with where the file ends."""
    if upload.status != UploadStatus.UPLOADING:
        raise LayercutError(
            "upload_complete", f"{upload.id} is {upload.status}, and takes no more", details={"offset": file.bytes}
        )


def mismatch(file: Row[Any], why: str) -> LayercutError:
    """With where the file goes on."""
    return LayercutError("upload_offset_mismatch", f"{file.name}: {why}", details={"offset": file.received})


def _path(file: int, start: int, token: str) -> str:
    return f"{file}/{start}-{token}"


def _named(files: list[Row[Any]], name: str) -> Row[Any]:
    row = next((file for file in files if file.name == name), None)
    if row is None:
        known = ", ".join(file.name for file in files[:20])
        raise LayercutError("file_not_found", f"the upload has no file {name[:200]!r}; it has {known}")
    return row


def _change(connection: Connection, upload_id: str, file: int, **values: Any) -> None:
    mine = (upload_files.c.upload_id == upload_id, upload_files.c.number == file)
    connection.execute(update(upload_files).where(*mine).values(**values))
