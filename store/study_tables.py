"""The tables of studies, beside those of jobs. A change here needs a revision in ``migrations/versions``."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Float, ForeignKey, Index, Integer, String, Table, false

from store.columns import Id, PlainText, UtcTime
from store.tables import METADATA

# What was asked for as it came, and what came of it then: the lists with their models pinned (``grids``, the first is
# the study's own, the others were added later).
studies = Table(
    "studies",
    METADATA,
    Column("id", Id, primary_key=True),
    Column("tenant", Id, nullable=False),
    Column("name", PlainText),
    Column("status", String(16), nullable=False),
    Column("status_reason", PlainText),
    Column("created_at", UtcTime, nullable=False),
    # Since when nothing more is queued for it: it was paused or cancelled, or is finished.
    Column("stopped_at", UtcTime),
    Column("request", JSON, nullable=False),
    Column("grids", JSON, nullable=False),
    Column("budget", JSON, nullable=False),
    # Since when the budget is counted, and what had been used up before then.
    Column("began_at", UtcTime, nullable=False),
    Column("begun", Integer, nullable=False, server_default="0"),
    Column("begun_before", Integer, nullable=False, server_default="0"),
    Column("gpu_hours_before", Float, nullable=False, server_default="0"),
    # Of the request that made it, as of a job's; who asked, for the audit log.
    Column("key_id", Id),
    Column("request_id", PlainText),
    Column("traceparent", String(64)),
    Index("ix_studies_tenant", "tenant", "id"),
    Index("ix_studies_status", "status"),
)

# ``key`` is a digest of what the cell asks for, ``place`` its turn. A cell that is ``begun`` stands where its job
# stands; ``job_id`` without a key to ``jobs``: a job that is deleted leaves its cell. ``pilot`` is the number of the
# cell whose search decides whether this one runs.
study_cells = Table(
    "study_cells",
    METADATA,
    Column("study_id", Id, ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("key", String(64), nullable=False),
    # The number of its grid, then its place in each of the grid's lists.
    Column("at", JSON, nullable=False),
    Column("strategy", String(64), nullable=False),
    Column("place", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", PlainText),
    Column("job_id", Id),
    # Whether an earlier job, or that of another cell, had done it.
    Column("known", Boolean, nullable=False, server_default=false()),
    Column("pilot", Integer),
    Column("fingerprint", String(64)),
    # Of model and data, as they were when it was asked for.
    Column("content", String(64)),
    # By the plan, as far as that tells them.
    Column("layers_total", Integer),
    Column("dropped", JSON(none_as_null=True)),
    Index("ix_study_cells_key", "study_id", "key", unique=True),
    Index("ix_study_cells_state", "study_id", "state", "place"),
    Index("ix_study_cells_job_id", "job_id"),
)
