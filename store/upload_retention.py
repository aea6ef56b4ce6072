"""How long uploads are kept: those whose time is over are there no more, and their files are swept.

Every call does a bounded piece, and may run in many processes at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Row, delete, or_, select, update

from api_schemas.uploads import UploadStatus
from store.columns import later
from store.database import reading
from store.retention import DELETED_DAYS, JOBS, ROWS, delay
from store.upload_rows import is_used, parts_of, prefix_of
from store.upload_tables import uploads
from store.upload_uses import DAY


@dataclass(frozen=True)
class UploadLeftover:
    """Files that nobody needs, all at ``prefix``: of an upload that is ``gone`` or failed, or the parts of one that is
    ready.
    """

    upload_id: str
    prefix: str
    gone: bool
    #: What ``sweep_at`` was: one that was deleted meanwhile is due again, and with all of its files.
    due: datetime
    waited_seconds: float


class UploadRetention:
    """One method is one transaction. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def expire(self) -> list[str]:
        """The uploads that were kept for their time, unless a job works on them: nobody is given them from now on."""
        over = (uploads.c.gone_at.is_(None), uploads.c.expires_at < later(), ~is_used())
        unheld = or_(uploads.c.held_until.is_(None), uploads.c.held_until < later())
        some = select(uploads.c.id).where(*over, unheld).order_by(uploads.c.id).limit(JOBS)
        gone = {"gone_at": later(), "sweep_at": later(), "bytes": 0}
        with self._engine.begin() as connection:
            found = list(connection.scalars(some.with_for_update(skip_locked=True)))
            # Once more: a job that was taken since the question was asked has let go of the rows by now.
            ids = list(connection.scalars(select(uploads.c.id).where(uploads.c.id.in_(found), *over)))
            connection.execute(update(uploads).where(uploads.c.id.in_(ids)).values(**gone))
        return ids

    def unswept(self, limit: int = JOBS) -> list[UploadLeftover]:
        """What is due."""
        query = select(uploads, later().label("now")).where(uploads.c.sweep_at < later())
        with reading(self._engine) as connection:
            rows = connection.execute(query.order_by(uploads.c.sweep_at).limit(limit)).all()
        return [_leftover(row) for row in rows]

    def swept(self, upload: UploadLeftover, sweep_after_seconds: float) -> None:
        """Its files are gone. Those of an upload that is gone are looked for again once whoever was writing has had
        time to notice, and before it is forgotten: one that was frozen for longer has written since.
        """
        moments = (sweep_after_seconds, DELETED_DAYS * DAY) if upload.gone else ()
        waits = next((moment - upload.waited_seconds for moment in moments if upload.waited_seconds < moment), None)
        self._sweep_at(upload, waits)

    def put_off(self, upload: UploadLeftover) -> None:
        """Something could not be deleted: it is tried again after a time that grows."""
        self._sweep_at(upload, delay(upload.waited_seconds))

    def forget(self) -> int:
        """Uploads that went long ago are forgotten, where nothing is left of them; how many."""
        gone = (uploads.c.gone_at < later(-DELETED_DAYS * DAY), uploads.c.sweep_at.is_(None))
        some = select(uploads.c.id).where(*gone).limit(ROWS).with_for_update(skip_locked=True)
        with self._engine.begin() as connection:
            ids = list(connection.scalars(some))
            return connection.execute(delete(uploads).where(uploads.c.id.in_(ids))).rowcount if ids else 0

    def _sweep_at(self, upload: UploadLeftover, seconds: float | None) -> None:
        again = None if seconds is None else later(seconds)
        same = (uploads.c.id == upload.upload_id, uploads.c.sweep_at == upload.due)
        with self._engine.begin() as connection:
            connection.execute(update(uploads).where(*same).values(sweep_at=again))


def _leftover(row: Row[Any]) -> UploadLeftover:
    gone = row.gone_at is not None
    prefix = prefix_of(row.id) if gone or row.status == UploadStatus.FAILED else parts_of(row.id)
    waited = (row.now - (row.gone_at or row.created_at)).total_seconds()
    return UploadLeftover(row.id, prefix, gone, row.sweep_at, waited)
