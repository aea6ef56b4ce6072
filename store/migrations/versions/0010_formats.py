"""The further formats that a job asks for, so that a worker leaves those that it cannot write to the others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from store.columns import Id, PlainText

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

#: As of this revision.
PLAIN = "safetensors"
JOBS = sa.table(
    "jobs", sa.column("id", Id), sa.column("status"), sa.column("request", sa.JSON), sa.column("formats", PlainText)
)


def upgrade() -> None:
    op.add_column("jobs", sa.Column("formats", PlainText))
    connection = op.get_bind()
    # Whatever may be claimed yet; what has ended needs none.
    living = sa.select(JOBS.c.id, JOBS.c.request).where(JOBS.c.status.in_(("queued", "running", "cancelling")))
    for job_id, request in connection.execute(living).all():
        names = (request.get("export") or {}).get("formats") or []
        told = "".join(f",{name}" for name in names if name != PLAIN)
        if told:
            connection.execute(sa.update(JOBS).where(JOBS.c.id == job_id).values(formats=f"{told},"))


def downgrade() -> None:
    op.drop_column("jobs", "formats")
