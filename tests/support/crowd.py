"""What the processes of ``test_job_crowd`` run. A module of its own: a spawned process imports it."""

from __future__ import annotations

from sqlalchemy import inspect

from store.database import migrate, open_engine
from store.jobs import JobStore


def claim_all(url: str, worker: str) -> list[str]:
    """Claim until nothing is queued; the ids that this process got."""
    engine = open_engine(url)
    store = JobStore(engine)
    taken = []
    while claim := store.claim(worker):
        taken.append(claim.lease.job_id)
    engine.dispose()
    return taken


def reap_all(url: str) -> list[str]:
    """Reap until nothing is left to reap; the ids that this process changed."""
    engine = open_engine(url)
    store = JobStore(engine)
    changed: list[str] = []
    while ids := [*(reaped := store.reap()).requeued, *reaped.timed_out]:
        changed += ids
    engine.dispose()
    return changed


def migrate_once(url: str) -> set[str]:
    engine = open_engine(url)
    migrate(engine)
    tables = set(inspect(engine).get_table_names())
    engine.dispose()
    return tables
