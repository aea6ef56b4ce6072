"""The further formats that a job asks for, so that a worker leaves those that it cannot write to the others."""

from __future__ import annotations

import re

import sqlalchemy as sa
from alembic import op

from store.columns import Id, PlainText

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

#: Those of this revision, by what all their spellings have in common.
FURTHER = {"onnx": "onnx", "onnxint8": "onnx-int8", "onnxbf16": "onnx-bf16"}
JOBS = sa.table(
    "jobs", sa.column("id", Id), sa.column("status"), sa.column("request", sa.JSON), sa.column("formats", PlainText)
)


def upgrade() -> None:
    op.add_column("jobs", sa.Column("formats", PlainText))
    connection = op.get_bind()
    # Whatever may be claimed yet. One that has ended and is asked for again is told them then.
    living = sa.select(JOBS.c.id, JOBS.c.request).where(JOBS.c.status.in_(("queued", "running", "cancelling")))
    for job_id, request in connection.execute(living).all():
        names = (request.get("export") or {}).get("formats") or []
        spelled = (FURTHER.get(re.sub(r"[-_\s]+", "", str(name)).casefold()) for name in names)
        told = "".join(f",{name}" for name in spelled if name)
        if told:
            connection.execute(sa.update(JOBS).where(JOBS.c.id == job_id).values(formats=f"{told},"))


def downgrade() -> None:
    op.drop_column("jobs", "formats")
