"""Jobs, their events, their metadata."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from store.columns import Id, PlainText, UtcTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", Id, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("stage", sa.String(16)),
        sa.Column("status_reason", PlainText),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("model", PlainText, nullable=False),
        sa.Column("task", PlainText, nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("started_at", UtcTime),
        sa.Column("finished_at", UtcTime),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("resolved", sa.JSON),
        sa.Column("progress", sa.JSON, nullable=False),
        sa.Column("result", sa.JSON),
        sa.Column("error", sa.JSON),
        sa.Column("usage", sa.JSON),
        sa.Column("artifact", PlainText),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("max_attempts", sa.Integer, nullable=False),
        sa.Column("worker", PlainText),
        sa.Column("lease_token", sa.String(64)),
        sa.Column("lease_expires_at", UtcTime),
        sa.Column("max_queue_seconds", sa.Integer, nullable=False),
        sa.Column("queue_expires_at", UtcTime, nullable=False),
        sa.Column("woken_at", UtcTime),
        sa.Column("last_event", sa.Integer, nullable=False),
        sa.Column("swept_at", UtcTime),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
    )
    op.create_index("ix_jobs_queue", "jobs", ["status", sa.text("priority DESC"), "created_at", "id"])
    op.create_index("ix_jobs_lease_expires_at", "jobs", ["lease_expires_at"])
    op.create_table(
        "events",
        sa.Column("job_id", Id, nullable=False),
        sa.Column("number", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("level", sa.String(16), nullable=False),
        sa.Column("message", PlainText, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "number", name="pk_events"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_events_job_id", ondelete="CASCADE"),
    )
    op.create_table(
        "job_metadata",
        sa.Column("job_id", Id, nullable=False),
        sa.Column("key", PlainText, nullable=False),
        sa.Column("value", PlainText, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "key", name="pk_job_metadata"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_metadata_job_id", ondelete="CASCADE"),
    )
    op.create_index("ix_job_metadata_key_value", "job_metadata", ["key", "value"])


def downgrade() -> None:
    op.drop_table("job_metadata")
    op.drop_table("events")
    op.drop_table("jobs")
