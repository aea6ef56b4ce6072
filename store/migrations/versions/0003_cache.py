"""The cache by its name (it was called "shelf"), and where a row's files are: in the row, for files do not move."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from store.columns import Id, PlainText, UtcTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SHARED = "fingerprint, kind, state, job_id, lease_token, seconds, bytes, created_at, used_at"


def upgrade() -> None:
    _make("cache", sa.Column("prefix", PlainText, nullable=False))
    prefix = "'shelf/' || kind || '/' || fingerprint || '/' || lease_token"
    op.execute(f"INSERT INTO cache ({SHARED}, prefix) SELECT {SHARED}, {prefix} FROM shelf")
    op.drop_table("shelf")


def downgrade() -> None:
    _make("shelf")
    # Of what was made since, the older code would not find the files.
    op.execute(f"INSERT INTO shelf ({SHARED}) SELECT {SHARED} FROM cache WHERE prefix LIKE 'shelf/%'")
    op.drop_table("cache")


def _make(name: str, *more: sa.Column[Any]) -> None:
    op.create_table(
        name,
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        *more,
        sa.Column("job_id", Id, nullable=False),
        sa.Column("lease_token", sa.String(64), nullable=False),
        sa.Column("seconds", sa.Float),
        sa.Column("bytes", sa.BigInteger),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("used_at", UtcTime, nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name=f"pk_{name}"),
    )
    op.create_index(f"ix_{name}_used_at", name, ["used_at"])
