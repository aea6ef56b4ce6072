"""Rows of uploads: found among a tenant's own, locked, and as they are shown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from itertools import accumulate
from typing import Any

from pydantic import ValidationError
from sqlalchemy import ColumnElement, Connection, Integer, Row, Text, and_, cast, exists, func, literal_column, select

from api_schemas.errors import JobError, LayercutError
from api_schemas.jobs import Status
from api_schemas.uploads import PREFIX, SHOWN, Dataset, Model, UploadedFile, UploadKind, UploadStatus
from store.ids import is_upload_id
from store.listing import PAGE_BYTES
from store.rows import ACTIVE
from store.tables import jobs
from store.upload_tables import upload_files, upload_uses, uploads

AnyUpload = Dataset | Model

#: Of a job that may still read the files.
NOT_ENDED = (Status.QUEUED, *ACTIVE)
#: Jobs that are named of those that use an upload.
MOST_USERS = 10
#: Of one file in a list, as JSON; roughly.
FILE_BYTES = 250


def prefix_of(upload_id: str) -> str:
    """Where its files lie in the artifact store."""
    return f"uploads/{upload_id}"


def parts_of(upload_id: str) -> str:
    """Where the parts of files lie that are not whole yet."""
    return f"{prefix_of(upload_id)}/parts"


def owned(upload_id: str, tenant: str | None, kind: UploadKind | None) -> ColumnElement[bool]:
    """The upload of that id, where it is the tenant's and of that kind; None is any."""
    asked = [uploads.c.id == upload_id]
    asked += [] if tenant is None else [uploads.c.tenant == tenant]
    asked += [] if kind is None else [uploads.c.kind == kind]
    return and_(*asked)


def locked(connection: Connection, upload_id: str, tenant: str | None, kind: UploadKind | None) -> Row[Any]:
    """The upload's row, ours until the transaction ends; raises ``upload_not_found`` and ``expired``."""
    row = connection.execute(select(uploads).where(owned(upload_id, tenant, kind)).with_for_update()).first()
    return there(row, upload_id)


def found(connection: Connection, upload_id: str, tenant: str | None, kind: UploadKind | None) -> Row[Any]:
    """As ``locked``, without the lock."""
    return there(connection.execute(select(uploads).where(owned(upload_id, tenant, kind))).first(), upload_id)


def there(row: Row[Any] | None, upload_id: str) -> Row[Any]:
    """``row``, unless it is none or its time is over."""
    if row is None or row.deleted:
        raise not_found(upload_id)
    if row.gone_at is not None:
        raise expired(row)
    return row


def not_found(upload_id: str) -> LayercutError:
    return LayercutError("upload_not_found", f"there is no upload {upload_id[:80]!r}")


def expired(row: Row[Any]) -> LayercutError:
    """What to say of an upload that is there no more."""
    if row.deleted:
        return LayercutError("expired", f"{row.id} was deleted, and its files with it")
    return LayercutError(
        "expired",
        f"{row.id} was kept until {row.expires_at:%Y-%m-%dT%H:%M:%SZ}, and its files are gone: upload them again",
    )


def files_of(connection: Connection, upload_id: str) -> list[Row[Any]]:
    """In the order in which they were announced."""
    query = select(upload_files).where(upload_files.c.upload_id == upload_id).order_by(upload_files.c.number)
    return list(connection.execute(query))


def is_used() -> ColumnElement[bool]:
    """Of a row of ``uploads``: whether a job that has not ended works on it."""
    return exists().where(upload_uses.c.upload_id == uploads.c.id, _not_ended())


def users_of(connection: Connection, upload_ids: Collection[str]) -> dict[str, list[str]]:
    """The jobs that have not ended, by the upload that they work on; some of each."""
    using = select(upload_uses).where(upload_uses.c.upload_id.in_(upload_ids), _not_ended())
    users: dict[str, list[str]] = defaultdict(list)
    for row in connection.execute(using.order_by(upload_uses.c.job_id).limit(MOST_USERS * len(upload_ids))):
        users[row.upload_id].append(row.job_id)
    return users


def read_upload(connection: Connection, upload_id: str) -> AnyUpload:
    """One that is there."""
    return _shown(connection, [upload_id])[0]


def page_of(
    connection: Connection, tenant: str | None, kind: UploadKind, after: str | None, limit: int
) -> tuple[list[AnyUpload], bool]:
    """One page, newest first, and whether there is more; it ends where the next would not fit into ``PAGE_BYTES``."""
    if after is not None and not is_upload_id(after):
        raise LayercutError("invalid_cursor", f"{after[:80]!r} is not the id of an upload of this list", param="after")
    mine = [uploads.c.kind == kind, uploads.c.gone_at.is_(None)]
    mine += [] if tenant is None else [uploads.c.tenant == tenant]
    mine += [] if after is None else [uploads.c.id < after]
    count = select(func.count()).where(upload_files.c.upload_id == uploads.c.id).correlate(uploads).scalar_subquery()
    texts = (uploads.c.inspection, uploads.c.notes, uploads.c.error)
    told = [func.coalesce(func.length(cast(text, Text)), 0) for text in texts]
    size = told[0] + told[1] + told[2] + FILE_BYTES * count
    query = select(uploads.c.id, size.label("size")).where(*mine).order_by(uploads.c.id.desc())
    rows = connection.execute(query.limit(literal_column(str(limit + 1), Integer))).all()
    sizes = accumulate(row.size for row in rows[:limit])
    ids = [row.id for at, (row, sum_) in enumerate(zip(rows, sizes, strict=False)) if at == 0 or sum_ <= PAGE_BYTES]
    return _shown(connection, ids), len(rows) > len(ids)


def _shown(connection: Connection, ids: Collection[str]) -> list[AnyUpload]:
    """Newest first."""
    if not ids:
        return []
    files: dict[str, list[Row[Any]]] = defaultdict(list)
    theirs = select(upload_files).where(upload_files.c.upload_id.in_(ids))
    for row in connection.execute(theirs.order_by(upload_files.c.upload_id, upload_files.c.number)):
        files[row.upload_id].append(row)
    users = users_of(connection, ids)
    rows = connection.execute(select(uploads).where(uploads.c.id.in_(ids)).order_by(uploads.c.id.desc()))
    return [_as_upload(row, files[row.id], users.get(row.id, [])) for row in rows]


def _as_upload(row: Row[Any], files: list[Row[Any]], users: list[str]) -> AnyUpload:
    fields: dict[str, Any] = {
        "id": row.id,
        "status": UploadStatus(row.status),
        "name": row.name,
        "source": f"{PREFIX}{row.id}",
        "files": [
            UploadedFile(name=file.name, bytes=file.bytes, received=file.received, sha256=file.sha256) for file in files
        ],
        "bytes": row.bytes,
        "sha256": row.sha256,
        "notes": row.notes,
        "error": row.error and JobError.model_validate(row.error),
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "used_by": users[:MOST_USERS],
    }
    shown = SHOWN[UploadKind(row.kind)]
    try:
        return shown(**fields, inspection=row.inspection)
    except (ValidationError, LayercutError):  # by another version: it must not spoil a list
        return shown(**fields, inspection=None)


def _not_ended() -> ColumnElement[bool]:
    user = jobs.alias("user")
    return exists().where(user.c.id == upload_uses.c.job_id, user.c.status.in_(NOT_ENDED)).correlate(upload_uses)
