"""UploadStore: the door to everything that is known about uploads. One method is one transaction.

Their bytes lie in the artifact store, at ``prefix_of``: written by whoever serves the request, and never from here.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Connection, Engine, insert, select, update

from api_schemas.errors import LayercutError
from api_schemas.uploads import NewFile, UploadedFile, UploadKind, UploadStatus
from store import upload_parts as parts
from store import upload_uses as uses
from store import upload_writing as writing
from store.audit import Actor, note
from store.columns import later
from store.database import reading
from store.ids import new_id
from store.tables import DEFAULT_TENANT
from store.tenants import check_upload_room, upload_room
from store.upload_parts import Sending
from store.upload_rows import AnyUpload, found, owned, page_of, read_upload, there
from store.upload_tables import upload_files, uploads
from store.upload_uses import ReadyUpload, hold
from store.upload_writing import HELD_SECONDS, Writing, Written

__all__ = ["ReadyUpload", "Sending", "UploadStore", "Writing", "Written", "hold"]

#: What is to be done in the transaction that has made the upload, and with it comes to nothing.
Within = Callable[[Connection, AnyUpload], None]


class UploadStore:
    """Uploads, their files and the parts of those that are under way. Safe to share between threads.

    Unknown ids, those of another kind and other tenants' raise ``LayercutError("upload_not_found")``; those whose time
    is over ``expired``.
    """

    def __init__(
        self, engine: Engine, *, days: float = 0.0, unfinished_hours: float = 24.0, actor: Actor | None = None
    ) -> None:
        """``days``: how long an upload is kept from its last use on; 0 is for ever. ``unfinished_hours``: how long one
        is kept to which nothing more is sent.
        """
        self._engine, self._days, self._hours = engine, days, unfinished_hours
        self._actor = actor
        #: Whose uploads these are; None is everybody's.
        self._tenant = None if actor is None else actor.tenant

    def of(self, actor: Actor) -> UploadStore:
        """The same, for one tenant: the uploads of others are not there, and what is done stands in the audit log."""
        return UploadStore(self._engine, days=self._days, unfinished_hours=self._hours, actor=actor)

    # What users do

    def create(
        self, kind: UploadKind, files: Iterable[NewFile], name: str | None, within: Within | None = None
    ) -> AnyUpload:
        """An upload whose files are sent later, in parts. Raises ``quota_exceeded``, and what ``within`` raises."""
        files = list(files)
        with self._engine.begin() as connection:
            upload_id = self._insert(connection, kind, name, sum(file.bytes for file in files), self._hours * 3600)
            rows = [
                {"upload_id": upload_id, "number": number, "received": 0, **file.model_dump()}
                for number, file in enumerate(files)
            ]
            connection.execute(insert(upload_files), rows)
            self._note(connection, "upload.create", upload_id)
            made = read_upload(connection, upload_id)
            if within is not None:
                within(connection, made)
            return made

    def get(self, upload_id: str, kind: UploadKind) -> AnyUpload:
        with reading(self._engine) as connection:
            found(connection, upload_id, self._tenant, kind)
            return read_upload(connection, upload_id)

    def list(self, kind: UploadKind, *, after: str | None = None, limit: int = 20) -> tuple[list[AnyUpload], bool]:
        """One page, newest first, and whether there is more. ``after`` is the last id of the page before.

        Raises ``invalid_cursor`` for an ``after`` that is no upload's id.
        """
        with reading(self._engine) as connection:
            return page_of(connection, self._tenant, kind, after, limit)

    def delete(self, upload_id: str, kind: UploadKind) -> None:
        """It is there no more, and its files are swept; again, nothing happens. Raises ``upload_in_use``."""
        with self._engine.begin() as connection:
            mine = owned(upload_id, self._tenant, kind)
            # With the lock: of two who ask at once, the second sees what the first has done.
            row = connection.execute(select(uploads).where(mine).with_for_update()).first()
            if row is not None and row.gone_at is not None:
                return
            there(row, upload_id)
            uses.check_unused(connection, upload_id)
            gone = {"gone_at": later(), "sweep_at": later(), "deleted": True}
            connection.execute(update(uploads).where(mine).values(**gone))
            self._note(connection, "upload.delete", upload_id)

    def ready(self, upload_id: str, kind: UploadKind) -> ReadyUpload:
        """What a job may use. Raises ``upload_not_found``, ``upload_not_ready`` and ``expired``."""
        with reading(self._engine) as connection:
            return uses.ready(connection, upload_id, self._tenant, kind)

    # Parts

    def file(self, upload_id: str, kind: UploadKind, name: str) -> UploadedFile:
        """One file, and how much of it is there; raises ``file_not_found``."""
        with reading(self._engine) as connection:
            return parts.file_of(connection, upload_id, self._tenant, kind, name)

    def begin_part(self, upload_id: str, kind: UploadKind, name: str, start: int) -> Sending:
        """The right to send to a file from ``start`` on. Raises ``file_not_found``, ``upload_complete`` and
        ``upload_offset_mismatch``.
        """
        with self._engine.begin() as connection:
            return parts.begin(connection, upload_id, self._tenant, kind, name, start=start)

    def count_part(self, sending: Sending, size: int) -> Sending:
        """``size`` bytes more are in the store, at ``sending.part``; the right to send what comes next.

        Raises as ``begin_part``, and ``payload_too_large`` for too many parts.
        """
        with self._engine.begin() as connection:
            return parts.count(connection, sending, size, unfinished_seconds=self._hours * 3600)

    # Putting an upload together

    def begin(self, kind: UploadKind, name: str | None, size: int) -> Writing:
        """An upload all of which comes now: of ``size`` bytes at most, as far as that is known. Raises
        ``quota_exceeded``.
        """
        token = secrets.token_hex(16)
        with self._engine.begin() as connection:
            upload_id = self._insert(
                connection, kind, name, size, HELD_SECONDS, token=token, held_until=later(HELD_SECONDS)
            )
            tenant = self._tenant or DEFAULT_TENANT
            return Writing(upload_id, kind, tenant, token, room=upload_room(connection, tenant, size))

    def take(self, upload_id: str, kind: UploadKind) -> Writing | None:
        """The right to complete an upload; None where it is ready, or another has the right.

        Raises ``upload_offset_mismatch`` for a file that is not whole, and what a failed one has failed with.
        """
        with self._engine.begin() as connection:
            return writing.take(connection, upload_id, self._tenant, kind)

    def renew(self, held: Writing, size: int = 0) -> bool:
        """Whether the right is still the caller's, which has to ask within ``HELD_SECONDS``. ``size`` bytes are written
        by now, and count. Raises ``quota_exceeded``.
        """
        with self._engine.begin() as connection:
            renewed = writing.renew(connection, held, self._hours * 3600 if held.files else HELD_SECONDS)
        if renewed and size:  # apart: who is refused room is still at it
            with self._engine.begin() as connection:
                writing.count(connection, held, size)
        return renewed

    def finish(self, held: Writing, written: Written, within: Within | None = None) -> AnyUpload:
        """All files lie at their prefix, and the list of them: the upload is ready. Raises ``quota_exceeded``."""
        with self._engine.begin() as connection:
            writing.finish(connection, held, written, self._actor)
            made = read_upload(connection, held.upload_id)
            if within is not None:
                within(connection, made)
            return made

    def fail(self, held: Writing, error: LayercutError) -> None:
        """What came in parts can never be used: the error is kept, and the files are swept."""
        with self._engine.begin() as connection:
            writing.fail(connection, held, error, self._actor)

    def send_again(self, held: Writing, files: Iterable[int]) -> None:
        """The files of these numbers are not what was announced: each begins anew."""
        with self._engine.begin() as connection:
            writing.send_again(connection, held, list(files))

    def let_go(self, held: Writing) -> None:
        """Give the right back: nothing was found out."""
        with self._engine.begin() as connection:
            writing.let_go(connection, held)

    def drop(self, held: Writing) -> bool:
        """What came at once came to nothing: it was never there. False where it is ready, gone, or another's."""
        with self._engine.begin() as connection:
            return writing.drop(connection, held)

    def is_ready(self, upload_id: str, kind: UploadKind) -> bool:
        with reading(self._engine) as connection:
            return bool(found(connection, upload_id, self._tenant, kind).status == UploadStatus.READY)

    def _insert(
        self, connection: Connection, kind: UploadKind, name: str | None, size: int, seconds: float, **values: Any
    ) -> str:
        tenant = self._tenant or DEFAULT_TENANT
        check_upload_room(connection, tenant, size)
        upload_id = new_id("upl")
        row: dict[str, Any] = {
            "id": upload_id,
            "tenant": tenant,
            "kind": kind,
            "name": name,
            "bytes": size,
            "notes": [],
        }
        connection.execute(
            insert(uploads).values(
                **row, status=UploadStatus.UPLOADING, created_at=later(), keep_days=self._days,
                expires_at=later(seconds), **values,
            )
        )  # fmt: skip
        return upload_id

    def _note(self, connection: Connection, action: str, target: str) -> None:
        if self._actor is not None:
            note(connection, self._actor, action, target)
