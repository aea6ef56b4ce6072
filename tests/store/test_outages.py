"""What passes ends a job only where it has kept it for longer than a night."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Engine, select, update

from api_schemas.errors import JobError, LayercutError
from api_schemas.jobs import Job, Status
from store.jobs import JobStore, Lease
from store.tables import events
from tests.support.store_samples import Submit

AWAY = JobError.of(LayercutError("storage_unavailable", "the artifact store refuses it"))


def claimed(store: JobStore) -> Lease:
    claim = store.claim("worker-1")
    assert claim is not None
    return claim.lease


def kept_away(engine: Engine, store: JobStore, *hours: float) -> Job:
    """Handed back for ``AWAY``, and again after each of the ``hours``."""
    job = store.hand_back(claimed(store), AWAY.message, AWAY)
    for each in hours:
        with engine.begin() as connection:
            for row in connection.execute(select(events)).all():
                earlier = update(events).where(events.c.job_id == row.job_id, events.c.number == row.number)
                connection.execute(earlier.values(created_at=row.created_at - timedelta(hours=each)))
        job = store.hand_back(claimed(store), AWAY.message, AWAY)
    return job


def test_what_keeps_a_job_for_longer_than_a_night_ends_it_within_a_day(engine: Engine, submit: Submit) -> None:
    store = JobStore(engine)
    submit(limits={"max_attempts": 1})
    assert kept_away(engine, store, *[0.5] * 28).status == Status.QUEUED
    job = kept_away(engine, store, *[0.5] * 4)
    assert job.status == Status.FAILED
    assert job.error is not None
    assert (job.error.code, job.error.retryable) == ("storage_unavailable", True)
    assert "for 16.0 hours" in job.error.message
    assert job.error.message.endswith("kept by storage_unavailable: the artifact store refuses it")

    assert store.retry(job.id).status == Status.QUEUED
    assert kept_away(engine, store, 0.5).status == Status.QUEUED, "it is asked for anew, and has as long again"


def test_days_of_work_between_two_outages_are_no_outage(engine: Engine, submit: Submit) -> None:
    submit(limits={"max_attempts": 1})
    assert kept_away(engine, JobStore(engine), 96, 96).status == Status.QUEUED
