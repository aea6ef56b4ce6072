"""What users send: data and models, their files, the parts of those that are under way, and the jobs that use them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from store.columns import Id, PlainText, UtcTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", Id, nullable=False),
        sa.Column("tenant", Id, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("name", PlainText),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64)),
        sa.Column("manifest", sa.String(64)),
        sa.Column("inspection", sa.JSON),
        sa.Column("notes", sa.JSON, nullable=False),
        sa.Column("error", sa.JSON),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("keep_days", sa.Float, nullable=False),
        sa.Column("expires_at", UtcTime),
        sa.Column("token", sa.String(32)),
        sa.Column("held_until", UtcTime),
        sa.Column("gone_at", UtcTime),
        sa.Column("deleted", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("sweep_at", UtcTime),
        sa.PrimaryKeyConstraint("id", name="pk_uploads"),
    )
    op.create_index("ix_uploads_tenant", "uploads", ["tenant", "kind", "id"])
    op.create_index("ix_uploads_expires_at", "uploads", ["gone_at", "expires_at"])
    op.create_index("ix_uploads_sweep_at", "uploads", ["sweep_at"])
    op.create_table(
        "upload_files",
        sa.Column("upload_id", Id, nullable=False),
        sa.Column("number", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("name", PlainText, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("received", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64)),
        sa.Column("token", sa.String(32)),
        sa.PrimaryKeyConstraint("upload_id", "number", name="pk_upload_files"),
        _of_an_upload("fk_upload_files_upload_id"),
    )
    op.create_table(
        "upload_parts",
        sa.Column("upload_id", Id, nullable=False),
        sa.Column("file", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("start", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("token", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("upload_id", "file", "start", name="pk_upload_parts"),
        _of_an_upload("fk_upload_parts_upload_id"),
    )
    op.create_table(
        "upload_uses",
        sa.Column("job_id", Id, nullable=False),
        sa.Column("upload_id", Id, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "upload_id", name="pk_upload_uses"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_upload_uses_job_id", ondelete="CASCADE"),
    )
    op.create_index("ix_upload_uses_upload_id", "upload_uses", ["upload_id"])


def downgrade() -> None:
    for table in ("upload_uses", "upload_parts", "upload_files", "uploads"):
        op.drop_table(table)


def _of_an_upload(name: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["upload_id"], ["uploads.id"], name=name, ondelete="CASCADE")
