"""Studies: many jobs asked for at once. A job says of which it is, and what decides its result."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from store.columns import Id, PlainText, UtcTime

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("study_id", Id))
    op.add_column("jobs", sa.Column("fingerprint", sa.String(64)))
    op.add_column("jobs", sa.Column("inputs", sa.JSON))
    op.add_column("jobs", sa.Column("gpu_seconds", sa.Float, nullable=False, server_default="0"))
    op.create_index("ix_jobs_tenant_fingerprint", "jobs", ["tenant", "fingerprint"])
    op.create_index("ix_jobs_study_id", "jobs", ["study_id", "id"])
    op.create_table(
        "studies",
        sa.Column("id", Id, nullable=False),
        sa.Column("tenant", Id, nullable=False),
        sa.Column("name", PlainText),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("status_reason", PlainText),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("stopped_at", UtcTime),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("grids", sa.JSON, nullable=False),
        sa.Column("budget", sa.JSON, nullable=False),
        sa.Column("began_at", UtcTime, nullable=False),
        sa.Column("begun", sa.Integer, nullable=False, server_default="0"),
        sa.Column("begun_before", sa.Integer, nullable=False, server_default="0"),
        sa.Column("gpu_hours_before", sa.Float, nullable=False, server_default="0"),
        sa.Column("key_id", Id),
        sa.Column("request_id", PlainText),
        sa.Column("traceparent", sa.String(64)),
        sa.PrimaryKeyConstraint("id", name="pk_studies"),
    )
    op.create_index("ix_studies_tenant", "studies", ["tenant", "id"])
    op.create_index("ix_studies_status", "studies", ["status"])
    op.create_table(
        "study_cells",
        sa.Column("study_id", Id, nullable=False),
        sa.Column("number", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("at", sa.JSON, nullable=False),
        sa.Column("strategy", sa.String(64), nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", PlainText),
        sa.Column("job_id", Id),
        sa.Column("known", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("pilot", sa.Integer),
        sa.Column("fingerprint", sa.String(64)),
        sa.Column("content", sa.String(64)),
        sa.Column("layers_total", sa.Integer),
        sa.Column("dropped", sa.JSON),
        sa.PrimaryKeyConstraint("study_id", "number", name="pk_study_cells"),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_study_cells_study_id", ondelete="CASCADE"),
    )
    op.create_index("ix_study_cells_key", "study_cells", ["study_id", "key"], unique=True)
    op.create_index("ix_study_cells_state", "study_cells", ["study_id", "state", "place"])
    op.create_index("ix_study_cells_job_id", "study_cells", ["job_id"])


def downgrade() -> None:
    op.drop_table("study_cells")
    op.drop_table("studies")
    op.drop_index("ix_jobs_study_id", "jobs")
    op.drop_index("ix_jobs_tenant_fingerprint", "jobs")
    op.drop_column("jobs", "gpu_seconds")
    op.drop_column("jobs", "inputs")
    op.drop_column("jobs", "fingerprint")
    op.drop_column("jobs", "study_id")
