"""What was resolved at POST is pinned, and typed, as events are: what of before says less goes, and its jobs stay."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("pinned", sa.JSON(none_as_null=True)))
    # A job of before that is still queued is refused by its worker, with a sentence: without its plan it would be
    # planned anew, and perhaps otherwise than it was shown.
    op.execute("UPDATE jobs SET resolved = NULL")
    op.execute("UPDATE events SET type = 'job.log', data = '{}' WHERE type = 'job.resolved'")


def downgrade() -> None:
    """What went does not come back; the older code does without."""
    op.drop_column("jobs", "pinned")
