"""A job as it is answered: with its addresses."""

from __future__ import annotations

from api_schemas.jobs import Job
from service.edge.root_path import address

ADDRESSES = ("events", "logs", "cancel", "retry", "report", "figures", "files", "download")


def shown(job: Job) -> Job:
    """``job`` with its addresses."""
    base = address(f"/v1/jobs/{job.id}")
    return job.model_copy(update={"urls": {"self": base, **{name: f"{base}/{name}" for name in ADDRESSES}}})
