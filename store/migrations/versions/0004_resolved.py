"""Resolved requests and events are typed: those of before, which say less, go; their jobs and messages stay."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A job of before that is still queued is refused by its worker, with a sentence: without its plan it would be
    # planned anew, and perhaps otherwise than it was shown.
    op.execute("UPDATE jobs SET resolved = NULL")
    op.execute("UPDATE events SET type = 'job.log', data = '{}' WHERE type = 'job.resolved'")


def downgrade() -> None:
    """What went does not come back; the older code does without."""
