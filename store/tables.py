"""The tables. A change here needs a revision in ``migrations/versions`` (a test compares the two)."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, text

from store.columns import Id, PlainText, UtcTime

METADATA = MetaData(
    naming_convention={"pk": "pk_%(table_name)s", "fk": "fk_%(table_name)s_%(column_0_name)s"},
)

# JSON and not JSONB: it keeps the order of the keys, and takes text that JSONB refuses (an escaped NUL).
jobs = Table(
    "jobs",
    METADATA,
    Column("id", Id, primary_key=True),
    Column("status", String(16), nullable=False),
    Column("stage", String(16)),
    Column("status_reason", PlainText),
    Column("priority", Integer, nullable=False),
    Column("model", PlainText, nullable=False),
    Column("task", PlainText, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("started_at", UtcTime),
    Column("finished_at", UtcTime),
    # The request as sent, and what was resolved of it then: what every attempt is handed. What the latest attempt has
    # decided beyond that is in ``resolved``, to be shown: another attempt may run on another device.
    Column("request", JSON, nullable=False),
    Column("pinned", JSON(none_as_null=True)),
    Column("resolved", JSON(none_as_null=True)),
    Column("progress", JSON, nullable=False),
    Column("result", JSON(none_as_null=True)),
    Column("error", JSON(none_as_null=True)),
    Column("usage", JSON(none_as_null=True)),
    Column("artifact", PlainText),
    # The lease: who runs the job, under which token, until when unless it is heard of.
    Column("attempt", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("worker", PlainText),
    Column("lease_token", String(64)),
    Column("lease_expires_at", UtcTime),
    # The queue: how long the job may wait in it, and when a worker was last woken for it.
    Column("max_queue_seconds", Integer, nullable=False),
    Column("queue_expires_at", UtcTime, nullable=False),
    Column("woken_at", UtcTime),
    Column("last_event", Integer, nullable=False),
    Column("swept_at", UtcTime),
    # In the order of claims, so that the best job is the first one found.
    Index("ix_jobs_queue", "status", text("priority DESC"), "created_at", "id"),
    Index("ix_jobs_lease_expires_at", "lease_expires_at"),
)

events = Table(
    "events",
    METADATA,
    Column("job_id", Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("type", String(32), nullable=False),
    Column("level", String(16), nullable=False),
    Column("message", PlainText, nullable=False),
    Column("data", JSON, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
)

# A job's metadata once more, as rows: what a list is filtered by.
job_metadata = Table(
    "job_metadata",
    METADATA,
    Column("job_id", Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("key", PlainText, primary_key=True),
    Column("value", PlainText, nullable=False),
    Index("ix_job_metadata_key_value", "key", "value"),
)

# What is made once and read by many. The maker is an attempt: while its lease holds, the making is in good hands.
cache = Table(
    "cache",
    METADATA,
    Column("fingerprint", String(64), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("state", String(8), nullable=False),
    # Where its files are in the artifact store.
    Column("prefix", PlainText, nullable=False),
    Column("job_id", Id, nullable=False),
    Column("lease_token", String(64), nullable=False),
    Column("seconds", Float),
    Column("bytes", BigInteger),
    Column("created_at", UtcTime, nullable=False),
    Column("used_at", UtcTime, nullable=False),
    Index("ix_cache_used_at", "used_at"),
)

# Who is there to do jobs. A row is its worker's own, which says again and again that it lives.
workers = Table(
    "workers",
    METADATA,
    Column("name", PlainText, primary_key=True),
    Column("started_at", UtcTime, nullable=False),
    Column("seen_at", UtcTime, nullable=False),
    Column("sandbox", JSON, nullable=False),
)
