"""Studies as the store knows them: cells, and jobs for them, without anything that was looked at."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Engine, func, select

from api_schemas.requests import JobRequest
from api_schemas.resolved import resolve
from api_schemas.studies.request import Budget
from store.audit import Actor
from store.creating import NewJob
from store.jobs import JobStore
from store.studies import StudyStore
from store.study_feeding import Fed, Ready, Waiting
from store.study_rows import NewCell, NewStudy
from store.tables import jobs
from tests.support.store_samples import SUCCEEDED

ACTOR = Actor("default")


def new_study(*cells: NewCell, **budget: Any) -> NewStudy:
    request = {"models": ["acme/bert"], "tasks": ["sst2"], "drops": [1]}
    grid = {**request, "pinned": [{"id": "acme/bert"}]}
    return NewStudy(None, request, grid, Budget(**budget), list(cells), range(len(cells)))


def cells(count: int, **more: Any) -> list[NewCell]:
    return [replace(NewCell(f"{at:064d}", (0, 0, 0, 0, 0, 0, 0, 0), "top"), **more) for at in range(count)]


def ready(study_id: str, cell: Waiting, fingerprint: str | None = None) -> Ready:
    sent = {"model": "acme/bert", "task": "sst2", "seed": cell.number}
    request = JobRequest.model_validate(sent)
    return Ready(cell, NewJob(request, sent, resolve(request, None), study=study_id, fingerprint=fingerprint))


def feed(store: StudyStore, study_id: str, *, window: int = 100, most: int = 25, **fingerprints: str) -> Fed:
    """One batch of a gateway; ``fingerprints`` by the cell's number, as in ``c3``."""
    waiting = store.next_cells(study_id, most)
    batch = [ready(study_id, cell, fingerprints.get(f"c{cell.number}")) for cell in waiting]
    return store.begin(study_id, batch, window)


def states(store: StudyStore, study_id: str) -> list[str]:
    return [cell.state.value for cell in store.get(study_id).cells]


def count_jobs(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(jobs)) or 0


def end_one(store: JobStore, event: Any = SUCCEEDED, artifact: str | None = "jobs/x") -> str:
    """Claim the next job and end it; its id."""
    claim = store.claim("worker-1")
    assert claim is not None
    store.finish(claim.lease, event, artifact=artifact)
    return claim.lease.job_id
