"""The cache by its name (it was called "shelf"), and where a row's files are: in the row, for files do not move."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from store.columns import Id, PlainText, UtcTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SHARED = "fingerprint, kind, state, job_id, lease_token, seconds, bytes, created_at, used_at"


def upgrade() -> None:
    op.create_table(
        "cache",
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("prefix", PlainText, nullable=False),
        sa.Column("job_id", Id, nullable=False),
        sa.Column("lease_token", sa.String(64), nullable=False),
        sa.Column("seconds", sa.Float),
        sa.Column("bytes", sa.BigInteger),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("used_at", UtcTime, nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name="pk_cache"),
    )
    old = "'shelf/' || kind || '/' || fingerprint || '/' || lease_token"
    op.execute(f"INSERT INTO cache ({SHARED}, prefix) SELECT {SHARED}, {old} FROM shelf")
    op.drop_table("shelf")
    op.create_index("ix_cache_used_at", "cache", ["used_at"])


def downgrade() -> None:
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
    # Of what was made since, the older code would not find the files.
    op.execute(f"INSERT INTO shelf ({SHARED}) SELECT {SHARED} FROM cache WHERE prefix LIKE 'shelf/%'")
    op.drop_table("cache")
    op.create_index("ix_shelf_used_at", "shelf", ["used_at"])
