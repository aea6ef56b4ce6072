"""The shelf: what is made once and read by many."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from store.columns import Id, UtcTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "shelf",
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("job_id", Id, nullable=False),
        sa.Column("lease_token", sa.String(64), nullable=False),
        sa.Column("seconds", sa.Float),
        sa.Column("bytes", sa.BigInteger),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("used_at", UtcTime, nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name="pk_shelf"),
    )
    op.create_index("ix_shelf_used_at", "shelf", ["used_at"])


def downgrade() -> None:
    op.drop_table("shelf")
