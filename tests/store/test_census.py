"""All jobs, workers and deliveries, counted by the database, alike on both."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Engine, update

from api_schemas.errors import LayercutError
from api_schemas.events import failure
from api_schemas.workers import DRAINING, SandboxReport
from store.census import count_all
from store.columns import later
from store.jobs import JobStore
from store.tables import jobs
from store.workers import Doing, WorkerStore
from tests.support.store_samples import Submit


def test_an_empty_database_has_none_of_each(engine: Engine) -> None:
    assert count_all(engine) == {
        "jobs": dict.fromkeys(("queued", "running", "cancelling", "succeeded", "failed", "cancelled"), 0),
        "running": 0,
        "queued": 0,
        "queue_oldest_seconds": 0.0,
        "failed_of_a_day": {},
        "workers": {"idle": 0, "busy": 0, "paused": 0, "draining": 0},
        "deliveries_due": 0,
    }


def test_jobs_are_counted_by_what_they_are_and_the_longest_wait_is_told(
    engine: Engine, store: JobStore, submit: Submit, overdue: Callable[[str, str], None]
) -> None:
    running, waiting, fresh, cancelled = (submit().id for _ in range(4))
    assert store.claim("w") is not None
    store.cancel(cancelled)
    overdue(waiting, "queued_at")
    found = count_all(engine)
    assert {status: count for status, count in found["jobs"].items() if count} == {
        "running": 1, "queued": 2, "cancelled": 1,
    }  # fmt: skip
    assert (found["running"], found["queued"]) == (1, 2)
    assert 3600 <= found["queue_oldest_seconds"] < 3700
    assert {running, fresh}.isdisjoint({waiting})


def test_failures_of_the_last_day_are_counted_by_an_error_of_ours(
    engine: Engine, store: JobStore, submit: Submit
) -> None:
    for code in ("timeout", "timeout", "out_of_memory"):
        _fail(store, submit().id, code)
    strange, old = submit().id, submit().id
    for job_id in (strange, old):
        _fail(store, job_id, "timeout")
    with engine.begin() as connection:
        told = {"code": "whatever a runner says", "message": "x"}
        connection.execute(update(jobs).where(jobs.c.id == strange).values(error=told))
        connection.execute(update(jobs).where(jobs.c.id == old).values(finished_at=later(-90_000)))
    assert count_all(engine)["failed_of_a_day"] == {"timeout": 2, "out_of_memory": 1, "other": 1}


def test_workers_are_counted_by_what_they_do(engine: Engine) -> None:
    store = WorkerStore(engine)
    for name in ("idle", "busy", "full", "leaving"):
        store.announce(name, SandboxReport(complete=True))
    store.seen("busy", Doing("job_1", 1))
    store.seen("full", paused_reason="its disk is full")
    store.seen("leaving", paused_reason=DRAINING)
    assert count_all(engine)["workers"] == {"idle": 1, "busy": 1, "paused": 1, "draining": 1}


def _fail(store: JobStore, job_id: str, code: str) -> None:
    claim = store.claim("w")
    assert claim is not None
    assert claim.lease.job_id == job_id
    store.finish(claim.lease, failure(LayercutError(code, "it broke")))
