"""Uploads that somebody puts together now: the one who receives all of it in one request, or who completes it.

As a job's lease, the right is a token that lasts while it is heard of; whoever is killed is followed by another.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from api_schemas.errors import JobError, LayercutError
from api_schemas.uploads import UploadKind, UploadStatus
from store import upload_parts as sent
from store.audit import Actor, note
from store.columns import later
from store.tenants import check_upload_room, upload_room
from store.upload_parts import Part
from store.upload_rows import files_of, locked, prefix_of
from store.upload_tables import upload_files, upload_parts, uploads
from store.upload_uses import DAY, ReadyFile

#: Whoever was not heard of for so long is dead, and another may go on.
HELD_SECONDS = 30.0


@dataclass(frozen=True)
class SentFile:
    """A file that came in parts. ``sha256`` is what was announced."""

    number: int
    name: str
    bytes: int
    sha256: str | None
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Writing:
    """The right to put an upload together; ``files`` are those that came in parts, none where all comes at once.
    ``room``: bytes that the tenant may store of it; None is any.
    """

    upload_id: str
    kind: UploadKind
    tenant: str
    token: str
    files: tuple[SentFile, ...] = ()
    room: int | None = None

    @property
    def prefix(self) -> str:
        return prefix_of(self.upload_id)


@dataclass(frozen=True)
class Written:
    """What was put together, and found in it. ``manifest`` is the sha256 of the list of the files."""

    files: Sequence[ReadyFile]
    sha256: str
    manifest: str
    inspection: dict[str, Any]
    notes: Sequence[str] = ()
    #: For people; None: what it was called when it was begun.
    name: str | None = None

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


def take(connection: Connection, upload_id: str, tenant: str | None, kind: UploadKind) -> Writing | None:
    """The right to complete an upload; None where another has it. Raises ``upload_not_found``, ``expired``, what it
    has failed with, and ``upload_offset_mismatch`` for a file that is not whole.
    """
    row = locked(connection, upload_id, tenant, kind)
    if row.status == UploadStatus.FAILED:
        error = JobError.model_validate(row.error)
        raise LayercutError(error.code, error.message, param=error.param)
    if row.status == UploadStatus.READY or _is_held(connection, row):
        return None
    files = files_of(connection, upload_id)
    for file in files:
        if file.received < file.bytes:
            raise sent.mismatch(file, f"{file.received} of its {file.bytes} bytes are there: send the others first")
    if not files:
        raise LayercutError(
            "upload_not_ready", f"{upload_id} is not complete, and nobody sends it any more: begin anew"
        )
    token, came = secrets.token_hex(16), tuple(_sent_file(connection, upload_id, file) for file in files)
    size = _announced(came)
    # What one who died had written of an archive counts no more: it is written over.
    _change(connection, upload_id, token=token, held_until=later(HELD_SECONDS), bytes=size)
    return Writing(upload_id, kind, row.tenant, token, came, upload_room(connection, row.tenant, size))


def renew(connection: Connection, writing: Writing, keep_seconds: float) -> bool:
    """Whether the right is still ``writing``'s, which is heard of now, and not forgotten for ``keep_seconds``."""
    mine = (uploads.c.id == writing.upload_id, uploads.c.token == writing.token, uploads.c.gone_at.is_(None))
    heard = {"held_until": later(HELD_SECONDS), "expires_at": later(keep_seconds)}
    return connection.execute(update(uploads).where(*mine).values(**heard)).rowcount == 1


def count(connection: Connection, writing: Writing, size: int) -> None:
    """Of ``size`` bytes that are written, those that do not count yet do so from now on. Raises ``quota_exceeded``."""
    counted = connection.scalar(select(uploads.c.bytes).where(uploads.c.id == writing.upload_id)) or 0
    if size > counted:
        check_upload_room(connection, writing.tenant, size - counted)
        _change(connection, writing.upload_id, bytes=size)


def finish(connection: Connection, writing: Writing, written: Written, actor: Actor | None) -> None:
    """The upload is ready: its files lie at their prefix. Raises as ``locked``, ``quota_exceeded``, and
    ``upload_not_ready`` where the right is another's.
    """
    row = _mine(connection, writing)
    more = written.bytes - row.bytes
    if more > 0:
        check_upload_room(connection, row.tenant, more)
    connection.execute(delete(upload_files).where(upload_files.c.upload_id == row.id))
    connection.execute(delete(upload_parts).where(upload_parts.c.upload_id == row.id))
    files = [
        {
            "upload_id": row.id, "number": number, "name": file.name, "bytes": file.bytes, "received": file.bytes,
            "sha256": file.sha256,
        }
        for number, file in enumerate(written.files)
    ]  # fmt: skip
    connection.execute(insert(upload_files), files)
    _change(
        connection, row.id, status=UploadStatus.READY, bytes=written.bytes, sha256=written.sha256,
        name=written.name or row.name, manifest=written.manifest, inspection=written.inspection,
        notes=list(written.notes),
        expires_at=later(row.keep_days * DAY) if row.keep_days else None, token=None, held_until=None,
        # Its parts.
        sweep_at=later(),
    )  # fmt: skip
    _note(connection, actor, "upload.ready", row.id)


def fail(connection: Connection, writing: Writing, error: LayercutError, actor: Actor | None) -> None:
    """What came is nothing that can be used: the error is kept, and the files are swept."""
    row = _mine(connection, writing)
    connection.execute(delete(upload_parts).where(upload_parts.c.upload_id == row.id))
    told = JobError.of(error).model_dump(mode="json")
    _change(
        connection, row.id, status=UploadStatus.FAILED, bytes=0, error=told, token=None, held_until=None,
        sweep_at=later(),
    )  # fmt: skip
    _note(connection, actor, "upload.failed", row.id, error.code)


def send_again(connection: Connection, writing: Writing, files: Sequence[int]) -> None:
    """The files of these numbers are not what was announced: each is to be sent once more."""
    row = _mine(connection, writing)
    for number in files:
        sent.begin_again(connection, row.id, number)
    _change(connection, row.id, token=None, held_until=None, bytes=_announced(writing.files))


def let_go(connection: Connection, writing: Writing) -> None:
    """Another may go on at once: what stood in the way is not the upload's fault."""
    mine = (uploads.c.id == writing.upload_id, uploads.c.token == writing.token)
    free: dict[str, Any] = {"token": None, "held_until": None}
    if writing.files:
        free["bytes"] = _announced(writing.files)
    connection.execute(update(uploads).where(*mine).values(**free))


def drop(connection: Connection, writing: Writing) -> bool:
    """It came to nothing and was never shown: its row goes once its files are swept. False where it is not
    ``writing``'s any more, as it is ready or gone.
    """
    mine = (uploads.c.id == writing.upload_id, uploads.c.token == writing.token, uploads.c.gone_at.is_(None))
    gone = {"gone_at": later(), "sweep_at": later(), "deleted": True, "bytes": 0, "token": None, "held_until": None}
    return connection.execute(update(uploads).where(*mine).values(**gone)).rowcount == 1


def _mine(connection: Connection, writing: Writing) -> Row[Any]:
    row = locked(connection, writing.upload_id, writing.tenant, writing.kind)
    if row.token != writing.token:
        raise LayercutError("upload_not_ready", f"{row.id} was taken over by another request: ask how far it is")
    return row


def _is_held(connection: Connection, row: Row[Any]) -> bool:
    if row.token is None or row.held_until is None:
        return False
    return bool(row.held_until > connection.execute(select(later())).scalar_one())


def _announced(files: Sequence[SentFile]) -> int:
    """What counts of an upload that came in parts, as long as it is not put together."""
    return sum(file.bytes for file in files)


def _sent_file(connection: Connection, upload_id: str, file: Row[Any]) -> SentFile:
    found = tuple(sent.parts(connection, upload_id, file.number))
    return SentFile(file.number, file.name, file.bytes, file.sha256, found)


def _change(connection: Connection, upload_id: str, **values: Any) -> None:
    connection.execute(update(uploads).where(uploads.c.id == upload_id).values(**values))


def _note(connection: Connection, actor: Actor | None, action: str, target: str, outcome: str = "done") -> None:
    if actor is not None:
        note(connection, actor, action, target, outcome)
