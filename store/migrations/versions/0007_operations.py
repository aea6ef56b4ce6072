"""What a service that is operated needs: logs, retention, deletions, idempotency keys, webhooks, workers' states."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from store.columns import Id, PlainText, UtcTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

QUEUE = ["priority DESC", "queued_at", "id"]
OLD_QUEUE = ["priority DESC", "created_at", "id"]

WITHOUT_FILES = sa.text("finished_at IS NOT NULL AND (artifact IS NULL OR expired_at IS NOT NULL)")

INDEXES = {
    "ix_jobs_tenant_status": ("jobs", ["tenant", "status", "id"]),
    "ix_jobs_tenant_task": ("jobs", ["tenant", "task", "id"]),
    "ix_jobs_tenant_created_at": ("jobs", ["tenant", "created_at", "id"]),
    "ix_jobs_sweep_at": ("jobs", ["sweep_at"]),
    "ix_jobs_finished_at": ("jobs", ["finished_at"]),
    "ix_jobs_expires_at": ("jobs", ["expired_at", "expires_at"]),
    "ix_job_logs_created_at": ("job_logs", ["created_at"]),
    "ix_deleted_jobs_sweep_at": ("deleted_jobs", ["sweep_at"]),
    "ix_deleted_jobs_deleted_at": ("deleted_jobs", ["deleted_at"]),
    "ix_idempotency_created_at": ("idempotency", ["created_at"]),
    "ix_webhooks_tenant": ("webhooks", ["tenant", "job_id"]),
    "ix_webhooks_job_id": ("webhooks", ["job_id"]),
    "ix_deliveries_due_at": ("deliveries", ["due_at", "created_at"]),
    "ix_deliveries_webhook_id": ("deliveries", ["webhook_id", "created_at"]),
    "ix_deliveries_job_id": ("deliveries", ["job_id"]),
}


def upgrade() -> None:
    for column in _of_jobs():
        op.add_column("jobs", column)
    op.execute("UPDATE jobs SET queued_at = created_at")
    op.execute("UPDATE jobs SET sweep_at = finished_at WHERE swept_at IS NULL AND attempt > 0")
    op.drop_index("ix_jobs_queue", "jobs")
    op.create_index("ix_jobs_queue", "jobs", ["status", "tenant", *map(sa.text, QUEUE)])
    for column in _of_workers():
        op.add_column("workers", column)
    _make_logs()
    _make_deleted_jobs()
    _make_idempotency()
    _make_webhooks()
    _make_deliveries()
    _make_probes()
    for name, (table, columns) in INDEXES.items():
        op.create_index(name, table, columns)
    op.create_index(
        "ix_jobs_without_files", "jobs", ["finished_at"], sqlite_where=WITHOUT_FILES, postgresql_where=WITHOUT_FILES
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_without_files", "jobs")
    for name, (table, _) in INDEXES.items():
        op.drop_index(name, table)
    for table in (
        "probes", "deliveries", "webhooks", "webhook_secrets", "idempotency", "deleted_jobs", "job_logs",
    ):  # fmt: skip
        op.drop_table(table)
    for column in _of_workers():
        op.drop_column("workers", column.name)
    op.drop_index("ix_jobs_queue", "jobs")
    op.create_index("ix_jobs_queue", "jobs", ["status", "tenant", *map(sa.text, OLD_QUEUE)])
    for column in _of_jobs():
        op.drop_column("jobs", column.name)


def _of_jobs() -> list[sa.Column[Any]]:
    return [
        sa.Column("queued_at", UtcTime),
        sa.Column("claimable_at", UtcTime),
        sa.Column("losses", sa.Integer, nullable=False, server_default="0"),
        sa.Column("log_start", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("log_end", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("expires_at", UtcTime),
        sa.Column("expired_at", UtcTime),
        sa.Column("sweep_at", UtcTime),
        sa.Column("request_id", PlainText),
        sa.Column("traceparent", sa.String(64)),
    ]


def _of_workers() -> list[sa.Column[Any]]:
    return [
        sa.Column("about", sa.JSON),
        sa.Column("job_id", Id),
        sa.Column("attempt", sa.Integer),
        sa.Column("progress_at", UtcTime),
        sa.Column("paused_reason", PlainText),
    ]


def _make_logs() -> None:
    op.create_table(
        "job_logs",
        sa.Column("job_id", Id, nullable=False),
        sa.Column("start", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("text", PlainText, nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "start", name="pk_job_logs"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_logs_job_id", ondelete="CASCADE"),
    )


def _make_deleted_jobs() -> None:
    op.create_table(
        "deleted_jobs",
        sa.Column("id", Id, nullable=False),
        sa.Column("tenant", Id, nullable=False),
        sa.Column("deleted_at", UtcTime, nullable=False),
        sa.Column("sweep_at", UtcTime),
        sa.PrimaryKeyConstraint("id", name="pk_deleted_jobs"),
    )


def _make_idempotency() -> None:
    op.create_table(
        "idempotency",
        sa.Column("tenant", Id, nullable=False),
        sa.Column("key", PlainText, nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("token", sa.String(32), nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("answer", sa.JSON),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "key", name="pk_idempotency"),
    )


def _make_webhooks() -> None:
    op.create_table(
        "webhook_secrets",
        sa.Column("id", Id, nullable=False),
        sa.Column("tenant", Id, nullable=False),
        sa.Column("number", sa.Integer, nullable=False, server_default="1"),
        sa.Column("rotated_at", UtcTime),
        sa.Column("key_fingerprint", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_secrets"),
    )
    op.create_table(
        "webhooks",
        sa.Column("id", Id, nullable=False),
        sa.Column("tenant", Id, nullable=False),
        sa.Column("job_id", Id),
        sa.Column("url", PlainText, nullable=False),
        sa.Column("events", sa.JSON, nullable=False),
        sa.Column("secret_id", Id, nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("failing_since", UtcTime),
        sa.Column("disabled_at", UtcTime),
        sa.Column("disabled_reason", PlainText),
        sa.PrimaryKeyConstraint("id", name="pk_webhooks"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_webhooks_job_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["secret_id"], ["webhook_secrets.id"], name="fk_webhooks_secret_id"),
    )


def _make_deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", Id, nullable=False),
        sa.Column("webhook_id", Id, nullable=False),
        sa.Column("tenant", Id, nullable=False),
        sa.Column("job_id", Id),
        sa.Column("event_number", sa.Integer),
        sa.Column("event_type", sa.String(32), nullable=False),
        sa.Column("body", PlainText, nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("due_at", UtcTime),
        sa.Column("delivered_at", UtcTime),
        sa.Column("last_status", sa.Integer),
        sa.Column("last_error", PlainText),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.ForeignKeyConstraint(["webhook_id"], ["webhooks.id"], name="fk_deliveries_webhook_id", ondelete="CASCADE"),
    )


def _make_probes() -> None:
    op.create_table(
        "probes",
        sa.Column("name", Id, nullable=False),
        sa.Column("written_at", UtcTime, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_probes"),
    )
