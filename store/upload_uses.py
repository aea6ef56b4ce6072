"""Jobs that work on uploads: which files that is, and that they stay until all who need them have ended.

Whoever takes an upload up holds its row meanwhile, and so does whoever lets it go: neither overlooks the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from api_schemas.errors import JobError, LayercutError
from api_schemas.uploads import UploadKind, UploadStatus
from store.columns import later
from store.tables import jobs
from store.upload_rows import expired, files_of, not_found, owned, prefix_of, users_of
from store.upload_tables import upload_uses, uploads

DAY = 24 * 3600.0


@dataclass(frozen=True)
class ReadyFile:
    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ReadyUpload:
    """What may be used, and will not change. ``manifest_sha256`` is of the list of its files, at ``prefix``; ``sha256``
    of their contents.
    """

    id: str
    kind: UploadKind
    prefix: str
    manifest_sha256: str
    sha256: str
    files: tuple[ReadyFile, ...]


def ready(connection: Connection, upload_id: str, tenant: str | None, kind: UploadKind) -> ReadyUpload:
    """Raises ``upload_not_found``, also for another tenant's or another kind's; ``upload_not_ready``; ``expired`` where
    its files are kept no more.
    """
    row = connection.execute(select(uploads).where(owned(upload_id, tenant, None))).first()
    if row is None:
        raise not_found(upload_id)
    if row.kind != kind:
        raise LayercutError("upload_not_found", f"{upload_id} is a {row.kind}, and a {kind} is needed here")
    _check_ready(row)
    files = tuple(ReadyFile(file.name, file.bytes, file.sha256) for file in files_of(connection, upload_id))
    return ReadyUpload(upload_id, kind, prefix_of(upload_id), row.manifest, row.sha256, files)


def hold(connection: Connection, job_id: str, upload_ids: Iterable[str]) -> None:
    """Keep the uploads until the job, which this transaction has made, has ended; they are kept anew from now on.

    Raises as ``ready``: they may have gone since they were looked at.
    """
    wanted = sorted(set(upload_ids))
    tenant = connection.scalar(select(jobs.c.tenant).where(jobs.c.id == job_id)) if wanted else None
    _renew(connection, tenant, wanted)
    if wanted:
        connection.execute(insert(upload_uses), [{"job_id": job_id, "upload_id": one} for one in wanted])


def check_held(connection: Connection, job_id: str, tenant: str) -> None:
    """Of a job that is asked for again: raise as ``ready`` where an upload that it works on has gone meanwhile."""
    held = select(upload_uses.c.upload_id).where(upload_uses.c.job_id == job_id).order_by(upload_uses.c.upload_id)
    _renew(connection, tenant, list(connection.scalars(held)))


def check_unused(connection: Connection, upload_id: str) -> None:
    """Raise ``upload_in_use`` where a job is to work on the upload, whose row is locked."""
    users = users_of(connection, [upload_id]).get(upload_id)
    if users:
        raise LayercutError("upload_in_use", f"{users[0]} works on it: cancel it, or wait until it has ended")


def _renew(connection: Connection, tenant: str | None, upload_ids: Collection[str]) -> None:
    # In one order, so that two who hold several do not wait for each other.
    for upload_id in upload_ids:
        row = connection.execute(select(uploads).where(owned(upload_id, tenant, None)).with_for_update()).first()
        if row is None:
            raise not_found(upload_id)
        _check_ready(row)
    kept = (uploads.c.id.in_(upload_ids), uploads.c.keep_days > 0)
    if upload_ids:
        connection.execute(update(uploads).where(*kept).values(expires_at=later(uploads.c.keep_days * DAY)))


def _check_ready(row: Row[Any]) -> None:
    if row.gone_at is not None:
        raise expired(row)
    status = UploadStatus(row.status)
    if status is UploadStatus.READY:
        return
    if status is UploadStatus.FAILED:
        error = JobError.model_validate(row.error)
        raise LayercutError("upload_not_ready", f"{row.id} came to nothing: {error.message}")
    raise LayercutError(
        "upload_not_ready",
        f"{row.id} is not complete: send what is missing, then POST …/complete",
    )
