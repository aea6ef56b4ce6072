"""Jobs that work on what earlier ones delivered: whose files are not swept before they have ended."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from store.columns import Id

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "job_uses",
        sa.Column("job_id", Id, nullable=False),
        sa.Column("source_id", Id, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "source_id", name="pk_job_uses"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_uses_job_id", ondelete="CASCADE"),
    )
    op.create_index("ix_job_uses_source_id", "job_uses", ["source_id"])


def downgrade() -> None:
    op.drop_table("job_uses")
