"""The tables. A change here needs a revision in ``migrations/versions`` (a test compares the two)."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    false,
    text,
)

from store.columns import Id, PlainText, UtcTime

METADATA = MetaData(
    naming_convention={"pk": "pk_%(table_name)s", "fk": "fk_%(table_name)s_%(column_0_name)s"},
)

#: Whose all is where no keys are used, and whose all was before there were tenants.
DEFAULT_TENANT = "default"

# Who owns rows. A quota that is null is none. ``claimed_at`` is when a worker last took a job of the tenant: of those
# with as many running jobs, the one that waited for longest is next.
tenants = Table(
    "tenants",
    METADATA,
    Column("id", Id, primary_key=True),
    Column("name", PlainText, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("queued_jobs", Integer),
    Column("running_jobs", Integer),
    Column("artifact_bytes", BigInteger),
    Column("requests_per_minute", Integer),
    Column("shared_baselines", Boolean, nullable=False, server_default=false()),
    Column("claimed_at", UtcTime),
)

# Keys to the API. ``id`` is the part that is shown; of the secret there is a slow hash.
api_keys = Table(
    "api_keys",
    METADATA,
    Column("id", Id, primary_key=True),
    Column("tenant", Id, ForeignKey("tenants.id"), nullable=False),
    Column("name", PlainText, nullable=False),
    Column("hash", String(200), nullable=False),
    Column("scope", String(16), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("revoked_at", UtcTime),
    Column("last_used_at", UtcTime),
    Index("ix_api_keys_tenant", "tenant", "created_at"),
)

# Who did what, and who was refused. Never a secret, never a body. Without foreign keys: it outlives what it names.
audit = Table(
    "audit",
    METADATA,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("at", UtcTime, nullable=False),
    Column("tenant", Id),
    Column("key_id", Id),
    Column("action", String(32), nullable=False),
    Column("target", PlainText),
    Column("outcome", PlainText, nullable=False),
    Column("request_id", PlainText),
    Column("address", PlainText),
    Index("ix_audit_tenant", "tenant", "number"),
    Index("ix_audit_at", "at"),
)

#: Jobs that have ended and have no files, or none that are still kept.
WITHOUT_FILES = text("finished_at IS NOT NULL AND (artifact IS NULL OR expired_at IS NOT NULL)")

# JSON and not JSONB: it keeps the order of the keys, and takes text that JSONB refuses (an escaped NUL).
jobs = Table(
    "jobs",
    METADATA,
    Column("id", Id, primary_key=True),
    # With a default of the database's: an older gateway, that still runs beside, knows no tenants.
    Column("tenant", Id, nullable=False, server_default=DEFAULT_TENANT),
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
    Column("bytes", BigInteger),
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
    # When it took its place in the queue (a lost attempt takes a new one), and before when nobody may claim it.
    Column("queued_at", UtcTime),
    Column("claimable_at", UtcTime),
    # The further formats that it asks for, with a comma before and after each: not every worker writes them.
    Column("formats", PlainText),
    # Attempts that were lost since the job was last asked for.
    Column("losses", Integer, nullable=False, server_default="0"),
    Column("last_event", Integer, nullable=False),
    # How much of the log was written in all, in bytes; what lies before ``log_start`` is no longer kept.
    Column("log_start", BigInteger, nullable=False, server_default="0"),
    Column("log_end", BigInteger, nullable=False, server_default="0"),
    # Until when the files are kept, and since when they no longer are.
    Column("expires_at", UtcTime),
    Column("expired_at", UtcTime),
    # When its files are to be swept next, null where nothing is left to sweep, and when they last were.
    Column("sweep_at", UtcTime),
    Column("swept_at", UtcTime),
    # Of the request that made the job: its id, and its W3C ``traceparent``.
    Column("request_id", PlainText),
    Column("traceparent", String(64)),
    # Of a job that a study asked for: which, without a key to it, and a digest of what decides the job's result.
    Column("study_id", Id),
    Column("fingerprint", String(64)),
    # The files that the fingerprint is of, as they were: for as long as they are, so was what the job has read.
    Column("inputs", JSON(none_as_null=True)),
    # What its attempts that have ended took on a GPU, whatever came of them.
    Column("gpu_seconds", Float, nullable=False, server_default="0"),
    # In the order of claims, tenant by tenant.
    Index("ix_jobs_queue", "status", "tenant", text("priority DESC"), "queued_at", "id"),
    Index("ix_jobs_tenant", "tenant", "id"),
    Index("ix_jobs_tenant_status", "tenant", "status", "id"),
    Index("ix_jobs_tenant_task", "tenant", "task", "id"),
    Index("ix_jobs_tenant_created_at", "tenant", "created_at", "id"),
    Index("ix_jobs_lease_expires_at", "lease_expires_at"),
    Index("ix_jobs_sweep_at", "sweep_at"),
    Index("ix_jobs_finished_at", "finished_at"),
    # Those whose rows may go: whoever looks for them reads none of those whose files are kept, which may be for ever.
    Index("ix_jobs_without_files", "finished_at", sqlite_where=WITHOUT_FILES, postgresql_where=WITHOUT_FILES),
    Index("ix_jobs_expires_at", "expired_at", "expires_at"),
    Index("ix_jobs_tenant_fingerprint", "tenant", "fingerprint"),
    Index("ix_jobs_study_id", "study_id", "id"),
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

# What the runners of a job said, in pieces. ``start`` is the piece's place in the whole, in bytes.
job_logs = Table(
    "job_logs",
    METADATA,
    Column("job_id", Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("attempt", Integer, nullable=False),
    Column("text", PlainText, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Index("ix_job_logs_created_at", "created_at"),
)

# Jobs whose rows are gone, and whose files go: a sweeper that dies goes on here. Without a key to ``jobs`` therefore.
deleted_jobs = Table(
    "deleted_jobs",
    METADATA,
    Column("id", Id, primary_key=True),
    Column("tenant", Id, nullable=False),
    Column("deleted_at", UtcTime, nullable=False),
    Column("sweep_at", UtcTime),
    Index("ix_deleted_jobs_sweep_at", "sweep_at"),
    Index("ix_deleted_jobs_deleted_at", "deleted_at"),
)

# POSTs by the key that their sender gave them. Without ``status``, the first of the key is still under way; ``token``
# tells it from one that took its place.
idempotency = Table(
    "idempotency",
    METADATA,
    Column("tenant", Id, primary_key=True),
    Column("key", PlainText, primary_key=True),
    # Of method, path and body.
    Column("fingerprint", String(64), nullable=False),
    Column("token", String(32), nullable=False),
    Column("status", Integer),
    Column("answer", JSON(none_as_null=True)),
    Column("created_at", UtcTime, nullable=False),
    Index("ix_idempotency_created_at", "created_at"),
)

# Whose secrets messages are signed with: an endpoint's (its id), or a tenant's (for the webhooks that its jobs name).
# The secret itself is derived from the service's key, ``id`` and ``number``, and stands nowhere.
webhook_secrets = Table(
    "webhook_secrets",
    METADATA,
    Column("id", Id, primary_key=True),
    Column("tenant", Id, nullable=False),
    Column("number", Integer, nullable=False, server_default="1"),
    # When ``number`` was raised: messages carry the signature of the one before, too, for a day from then.
    Column("rotated_at", UtcTime),
    # Of the service's key that the secret is derived from.
    Column("key_fingerprint", String(64), nullable=False),
)

# Who is told of events: all jobs of a tenant, or the one of ``job_id``.
webhooks = Table(
    "webhooks",
    METADATA,
    Column("id", Id, primary_key=True),
    Column("tenant", Id, nullable=False),
    Column("job_id", Id, ForeignKey("jobs.id", ondelete="CASCADE")),
    Column("url", PlainText, nullable=False),
    # The names of the event types.
    Column("events", JSON, nullable=False),
    Column("secret_id", Id, ForeignKey("webhook_secrets.id"), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    # Since when every delivery fails.
    Column("failing_since", UtcTime),
    Column("disabled_at", UtcTime),
    Column("disabled_reason", PlainText),
    Index("ix_webhooks_tenant", "tenant", "job_id"),
    Index("ix_webhooks_job_id", "job_id"),
)

# The outbox: messages, written in the transaction of the event that they tell. ``due_at`` is null once it is over. A
# test is of no job and no event.
deliveries = Table(
    "deliveries",
    METADATA,
    Column("id", Id, primary_key=True),
    Column("webhook_id", Id, ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    Column("tenant", Id, nullable=False),
    Column("job_id", Id),
    Column("event_number", Integer),
    Column("event_type", String(32), nullable=False),
    Column("body", PlainText, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("due_at", UtcTime),
    Column("delivered_at", UtcTime),
    Column("last_status", Integer),
    Column("last_error", PlainText),
    Index("ix_deliveries_due_at", "due_at", "created_at"),
    Index("ix_deliveries_webhook_id", "webhook_id", "created_at"),
    Index("ix_deliveries_job_id", "job_id"),
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

# Whose files a job works on: they stay until it has ended. Without a key to the source, which may be deleted then.
job_uses = Table(
    "job_uses",
    METADATA,
    Column("job_id", Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("source_id", Id, primary_key=True),
    Index("ix_job_uses_source_id", "source_id"),
)

# What is made once and read by many. The maker is an attempt: while its lease holds, the making is in good hands.
cache = Table(
    "cache",
    METADATA,
    # Who may read it: a tenant by its id, or all that share.
    Column("pool", Id, primary_key=True),
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

# What was written to see that it can be, and that the folder of artifacts was there.
probes = Table(
    "probes",
    METADATA,
    Column("name", Id, primary_key=True),
    Column("written_at", UtcTime, nullable=False),
)

# Who is there to do jobs. A row is its worker's own, which says again and again that it lives.
workers = Table(
    "workers",
    METADATA,
    Column("name", PlainText, primary_key=True),
    Column("started_at", UtcTime, nullable=False),
    Column("seen_at", UtcTime, nullable=False),
    Column("sandbox", JSON, nullable=False),
    # Host, process, device, version: what it is, as it says itself.
    Column("about", JSON(none_as_null=True)),
    # What it does now; null: it waits. ``progress_at`` is when that last went on.
    Column("job_id", Id),
    Column("attempt", Integer),
    Column("progress_at", UtcTime),
    # It takes no more jobs: it was told to stop, or has no room on its disk.
    Column("paused_reason", PlainText),
)
