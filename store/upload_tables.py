"""The tables of uploads, beside those of jobs."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, String, Table, false

from store.columns import Id, PlainText, UtcTime
from store.tables import METADATA

# What users sent. ``token`` is of whoever puts its files together now, until ``held_until`` unless it is heard of.
uploads = Table(
    "uploads",
    METADATA,
    Column("id", Id, primary_key=True),
    Column("tenant", Id, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("name", PlainText),
    # What counts against the tenant's quota: of all files, as announced until they are there.
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", String(64)),
    # The sha256 of the list of its files.
    Column("manifest", String(64)),
    Column("inspection", JSON(none_as_null=True)),
    Column("notes", JSON, nullable=False),
    Column("error", JSON(none_as_null=True)),
    Column("created_at", UtcTime, nullable=False),
    # How long it is kept from its last use on; 0 is for ever.
    Column("keep_days", Float, nullable=False),
    Column("expires_at", UtcTime),
    Column("token", String(32)),
    Column("held_until", UtcTime),
    # Since when it is there no more, and whether somebody deleted it; when its files are to be swept next.
    Column("gone_at", UtcTime),
    Column("deleted", Boolean, nullable=False, server_default=false()),
    Column("sweep_at", UtcTime),
    Index("ix_uploads_tenant", "tenant", "kind", "id"),
    Index("ix_uploads_expires_at", "gone_at", "expires_at"),
    Index("ix_uploads_sweep_at", "sweep_at"),
)

# ``token`` is of the request that sends to the file: the latest, as those before may be half dead.
upload_files = Table(
    "upload_files",
    METADATA,
    Column("upload_id", Id, ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("name", PlainText, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("received", BigInteger, nullable=False),
    # As announced; once it is there, as found.
    Column("sha256", String(64)),
    Column("token", String(32)),
)

# What came of files that are not whole yet, each a file of the artifact store. ``token`` is part of that file's name.
upload_parts = Table(
    "upload_parts",
    METADATA,
    Column("upload_id", Id, ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True),
    Column("file", Integer, primary_key=True, autoincrement=False),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("bytes", BigInteger, nullable=False),
    Column("token", String(32), nullable=False),
)

# Which uploads a job works on: they stay until it has ended.
upload_uses = Table(
    "upload_uses",
    METADATA,
    Column("job_id", Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("upload_id", Id, primary_key=True),
    Index("ix_upload_uses_upload_id", "upload_id"),
)
