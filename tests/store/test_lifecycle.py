"""What users do with a job that exists: ask for it again, delete it, cancel many."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import Engine, func, insert, select, update

from api_schemas.errors import LayercutError
from api_schemas.events import EventType
from api_schemas.jobs import Status
from store.audit import Actor, AuditLog
from store.columns import later
from store.jobs import JobStore
from store.listing import JobFilter
from store.tables import deleted_jobs, deliveries, events, job_logs, job_metadata, jobs
from tests.support.events import say
from tests.support.store_samples import FAILED, SUCCEEDED, Submit, add_webhook

DELIVERY = {"webhook_id": "wh_1", "tenant": "default", "event_number": 1, "event_type": "job.failed", "body": "{}"}
FAILED_AS = {"code": "internal", "message": "no reason"}


def run(store: JobStore, ending: Any = FAILED, **finish: Any) -> str:
    taken = store.claim("w")
    assert taken is not None
    return store.finish(taken.lease, ending, **finish).id


def code_of(call: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(LayercutError) as caught:
        call()
    return caught.value.code, caught.value.message


def test_a_failed_job_is_queued_again_as_if_new_with_all_its_attempts(store: JobStore, submit: Submit) -> None:
    first = submit(limits={"max_attempts": 2})
    assert run(store, artifact="jobs/x/attempts/1-a", size=7) == first.id
    waiting = submit()
    again = store.retry(first.id)

    assert (again.status, again.status_reason, again.attempt) == (Status.QUEUED, "queued again on request", 1)
    assert (again.error, again.result, again.finished_at, again.usage, again.expires_at) == (None,) * 5
    assert store.artifact(first.id) is None
    assert store.get(waiting.id).progress.queue_position == 1
    assert again.progress.queue_position == 2, "it has a new place"
    kinds = [event.type for event in store.events(first.id)[0]]
    assert kinds == [EventType.QUEUED, EventType.STARTED, EventType.FAILED, EventType.QUEUED]
    run(store)
    for left in (True, False):
        taken = store.claim("w")
        assert taken is not None
        assert taken.lease.job_id == first.id
        assert store.release(taken.lease, "lost").status == (Status.QUEUED if left else Status.FAILED)


def test_a_retry_of_what_is_queued_changes_nothing(store: JobStore, submit: Submit) -> None:
    job = submit()
    assert store.retry(job.id) == store.get(job.id) == job
    assert len(store.events(job.id)[0]) == 1


def test_a_job_cancelled_in_the_queue_is_queued_again(store: JobStore, submit: Submit) -> None:
    job = submit()
    store.cancel(job.id)
    assert store.retry(job.id).status == Status.QUEUED
    assert run(store, SUCCEEDED) == job.id


def test_what_runs_and_what_succeeded_is_not_retried_and_is_told_what_would_do(store: JobStore, submit: Submit) -> None:
    job = submit()
    taken = store.claim("w")
    assert taken is not None
    assert code_of(lambda: store.retry(job.id)) == (
        "job_not_terminal",
        "the job is running, and only one that has ended is asked for again: cancel it first (POST …/cancel), and wait"
        " until it is cancelled",
    )
    store.cancel(job.id)
    assert code_of(lambda: store.retry(job.id))[1].endswith("asked for again: wait until it is cancelled")
    done = submit()
    run(store, SUCCEEDED)
    assert code_of(lambda: store.retry(done.id)) == (
        "job_not_retryable", "the job has succeeded: POST it again for another run",
    )  # fmt: skip


def test_a_job_of_another_version_is_not_retried(store: JobStore, engine: Engine, submit: Submit) -> None:
    job = submit()
    run(store)
    with engine.begin() as connection:
        connection.execute(update(jobs).values(pinned={"seed": "an older form"}))
    code, message = code_of(lambda: store.retry(job.id))
    assert code == "job_not_retryable"
    assert "another version of layercut" in message
    assert store.get(job.id).status == Status.FAILED


def test_a_retry_takes_a_place_of_the_quota(store: JobStore, engine: Engine, submit: Submit) -> None:
    job = submit()
    store.cancel(job.id)
    submit()
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE tenants SET queued_jobs = 1")
    try:
        assert code_of(lambda: store.retry(job.id))[0] == "quota_exceeded"
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql("UPDATE tenants SET queued_jobs = NULL")


def test_retries_at_once_queue_it_once(store: JobStore, submit: Submit) -> None:
    job = submit()
    run(store)
    start = Barrier(6)

    def retry(_: int) -> Status:
        start.wait()
        return store.retry(job.id).status

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(retry, range(6))) == {Status.QUEUED}
    assert [event.type for event in store.events(job.id)[0]].count(EventType.QUEUED) == 2


def test_a_deleted_job_leaves_its_name_and_nothing_else(store: JobStore, engine: Engine, submit: Submit) -> None:
    kept, gone = submit(), submit(priority=1, metadata={"team": "search"})
    run(store)
    with engine.begin() as connection:
        add_webhook(connection, "wh_1")
        for job_id in (kept.id, gone.id):
            log = {"job_id": job_id, "start": 0, "attempt": 1, "text": "x", "created_at": later()}
            connection.execute(insert(job_logs).values(**log))
            row = {**DELIVERY, "id": f"msg_{job_id}", "job_id": job_id, "created_at": later(), "state": "pending"}
            connection.execute(insert(deliveries).values(**row))
    store.delete(gone.id)
    store.delete(gone.id)

    assert code_of(lambda: store.get(gone.id))[0] == "job_not_found"
    for table in (events, job_logs, job_metadata, deliveries):
        with engine.connect() as connection:
            assert set(connection.scalars(select(table.c.job_id))) <= {kept.id}, table.name
    with engine.connect() as connection:
        assert connection.scalars(select(deleted_jobs.c.id)).all() == [gone.id]
    assert [job.id for job in store.list()[0]] == [kept.id]


def test_a_deleted_job_takes_none_of_the_quota_and_is_another_tenants_secret(
    store: JobStore, engine: Engine, submit: Submit
) -> None:
    job = submit()
    run(store, SUCCEEDED, artifact="jobs/x", size=1000)
    other = store.of(Actor("other"))
    for _ in range(2):
        assert code_of(lambda: other.delete(job.id))[0] == "job_not_found"
        store.of(Actor("default")).delete(job.id)
    with engine.connect() as connection:
        assert connection.scalar(select(func.sum(jobs.c.bytes))) is None
    lines, _ = AuditLog(engine).page("default")
    assert [(line.action, line.target) for line in lines] == [("job.delete", job.id)]


@pytest.mark.parametrize(("status", "help_"), [("queued", "cancel it first"), ("running", "and wait until")])
def test_what_has_not_ended_is_not_deleted(store: JobStore, submit: Submit, status: str, help_: str) -> None:
    job = submit()
    if status == "running":
        store.claim("w")
    code, message = code_of(lambda: store.delete(job.id))
    assert (code, status in message, help_ in message) == ("job_not_terminal", True, True)


def test_a_worker_whose_job_was_deleted_can_write_nothing(store: JobStore, stale: JobStore, submit: Submit) -> None:
    job = submit(limits={"max_attempts": 1})
    taken = stale.claim("w")
    assert taken is not None
    store.reap()
    store.delete(job.id)
    with pytest.raises(Exception, match=job.id):
        store.record(taken.lease, say(EventType.LOG, "hello"))
    assert store.with_checkpoints([job.id], 7) == set()


def test_many_are_cancelled_by_a_filter_some_at_a_time(store: JobStore, submit: Submit) -> None:
    mine = [submit(metadata={"team": "search"}).id for _ in range(5)]
    other, ended = submit(), submit(metadata={"team": "search"})
    store.cancel(ended.id)
    store.claim("w")
    team = JobFilter(metadata={"team": "search"})

    assert store.cancel_some(team, limit=3) == ({Status.CANCELLING: 1, Status.CANCELLED: 2}, True)
    assert store.cancel_some(team, limit=3) == ({Status.CANCELLED: 2}, False)
    assert store.cancel_some(team, limit=3) == ({}, False)
    assert store.get(other.id).status == Status.QUEUED
    assert [store.get(job_id).status for job_id in mine] == [Status.CANCELLING] + 4 * [Status.CANCELLED]
    assert store.of(Actor("other")).cancel_some(JobFilter(task="sst2")) == ({}, False)


def test_jobs_are_listed_by_when_they_were_made(store: JobStore, submit: Submit, overdue: Any) -> None:
    old, new = submit(), submit()
    overdue(old.id, "created_at")
    then = datetime.now(UTC) - timedelta(minutes=30)
    assert [job.id for job in store.list(JobFilter(created_after=then))[0]] == [new.id]
    assert [job.id for job in store.list(JobFilter(created_before=then))[0]] == [old.id]
    assert store.list(JobFilter(created_before=datetime.min.replace(tzinfo=UTC)))[0] == []
    assert len(store.list(JobFilter(created_before=datetime.max.replace(tzinfo=UTC)))[0]) == 2


def test_the_list_follows_the_databases_clock_and_no_gateways(
    store: JobStore, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three gateways: one is right, one an hour late, one an hour early."""
    ids = []
    for hours in (0, 1, -1, 0, -1, 1):
        skewed = 1_800_000_000 + 3600 * hours
        monkeypatch.setattr("time.time", lambda skewed=skewed: float(skewed))
        monkeypatch.setattr("time.time_ns", lambda skewed=skewed: skewed * 10**9)
        ids.append(submit().id)
    monkeypatch.undo()
    assert [job.id for job in store.list()[0]] == ids[::-1] == sorted(ids, reverse=True)
    first, more = store.list(limit=3)
    assert more
    assert [job.id for job in store.list(after=first[-1].id)[0]] == ids[2::-1]
