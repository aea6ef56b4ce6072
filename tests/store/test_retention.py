"""What is deleted because its time is over; in pieces, by many at once, and again where it failed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, insert, select, update

from api_schemas.errors import LayercutError
from api_schemas.events import NewEvent
from api_schemas.jobs import Status
from store.columns import later
from store.jobs import JobStore
from store.retention import RetentionStore, checkpoints_end
from store.tables import deleted_jobs, deliveries, idempotency, job_logs, jobs
from tests.support.store_samples import FAILED, SUCCEEDED, Submit, add_webhook

Overdue = Callable[[str, str], None]
DAY = 24 * 3600


def claimed(store: JobStore) -> Any:
    taken = store.claim("w")
    assert taken is not None
    return taken.lease


def age(engine: Engine, job_id: str, days: float, *columns: str) -> None:
    """Move times of a job so far into the past."""
    with engine.begin() as connection:
        moved = {column: later(-days * DAY) for column in columns}
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(moved))


@pytest.mark.parametrize(
    ("status", "code", "days"),
    [
        ("succeeded", None, 0),
        ("failed", "out_of_memory", 7),
        ("cancelled", None, 7),
        ("failed", "protocol_violation", 0),
    ],
)
def test_checkpoints_are_kept_for_a_retry(status: str, code: str | None, days: float) -> None:
    ended = datetime(2026, 11, 29, tzinfo=UTC)
    assert checkpoints_end(Status(status), ended, code, 7) == ended + timedelta(days=days)
    assert checkpoints_end(Status.RUNNING, ended, code, 7) is None


def test_files_of_losers_are_swept_once_their_time_has_passed(
    store: JobStore, retention: RetentionStore, submit: Submit, overdue: Overdue
) -> None:
    won, never_ran = submit(), submit(priority=-1)
    lease = claimed(store)
    store.finish(lease, SUCCEEDED, artifact=lease.prefix)
    store.cancel(never_ran.id)
    assert retention.unswept(60, 7) == []
    overdue(won.id, "finished_at")
    overdue(never_ran.id, "finished_at")
    (left,) = retention.unswept(60, 7)
    assert (left.job_id, left.attempt, left.keep, left.checkpoints) == (won.id, 1, lease.prefix, True)
    retention.swept(left)
    assert retention.unswept(60, 7) == []


def test_checkpoints_of_a_failed_job_are_swept_later(
    store: JobStore, retention: RetentionStore, engine: Engine, submit: Submit
) -> None:
    job = submit()
    store.finish(claimed(store), FAILED)
    assert store.with_checkpoints([job.id], 7) == {job.id}
    (left,) = retention.unswept(0, 7)
    assert not left.checkpoints
    retention.swept(left)
    assert retention.unswept(0, 7) == []
    age(engine, job.id, 8, "finished_at", "sweep_at")
    (left,) = retention.unswept(0, 7)
    assert left.checkpoints
    assert store.with_checkpoints([job.id], 7) == set()
    retention.swept(left)
    assert retention.unswept(0, 7) == []


@pytest.mark.parametrize("end", [SUCCEEDED, FAILED])
def test_files_of_losers_are_looked_for_once_more_as_one_that_was_frozen_may_have_written(
    store: JobStore, retention: RetentionStore, engine: Engine, submit: Submit, end: NewEvent
) -> None:
    job = submit()
    lease = claimed(store)
    store.finish(lease, end, lease.prefix)
    looked = []
    for day in range(40):
        for left in retention.unswept(0, 7):
            looked.append((day, left.keep))
            retention.swept(left)
        ended_earlier(engine, job.id, timedelta(days=1))
    days = [0, 30] if end is SUCCEEDED else [0, 7, 30]
    assert looked == [(day, lease.prefix) for day in days]
    with engine.connect() as connection:
        assert connection.scalar(select(jobs.c.sweep_at)) is None, "and then never again"


def ended_earlier(engine: Engine, job_id: str, passed: timedelta) -> None:
    """Move the times of a job that has ended so far into the past, as waiting would."""
    mine = jobs.c.id == job_id
    with engine.begin() as connection:
        row = connection.execute(select(jobs).where(mine)).one()
        times = {"finished_at": row.finished_at - passed, "sweep_at": row.sweep_at and row.sweep_at - passed}
        connection.execute(update(jobs).where(mine).values(**times))


def test_what_cannot_be_swept_is_put_off_and_holds_nobody_up(
    store: JobStore, retention: RetentionStore, submit: Submit, overdue: Overdue, engine: Engine
) -> None:
    stuck, fine = submit(), submit()
    for _ in range(2):
        store.finish(claimed(store), FAILED)
    for job in (stuck, fine):
        overdue(job.id, "finished_at")
    (first,) = retention.unswept(60, 7, limit=1)
    retention.put_off(first)
    assert [left.job_id for left in retention.unswept(60, 7)] == [fine.id]
    with engine.connect() as connection:
        wait = select(jobs.c.sweep_at, later().label("now")).where(jobs.c.id == stuck.id)
        row = connection.execute(wait).one()
    assert row.sweep_at - row.now == pytest.approx(timedelta(hours=1), abs=timedelta(minutes=1)), "as long again"


def test_a_sweep_that_was_overtaken_by_a_retry_marks_nothing(
    store: JobStore, retention: RetentionStore, submit: Submit
) -> None:
    job = submit()
    store.finish(claimed(store), FAILED)
    (slow,) = retention.unswept(0, 7)
    store.retry(job.id)
    store.finish(claimed(store), FAILED)
    retention.swept(slow)
    (again,) = retention.unswept(0, 7)
    assert (slow.attempt, again.attempt) == (1, 2)


def test_files_expire_after_their_time_and_leave_the_quota(
    engine: Engine, retention: RetentionStore, submit: Submit
) -> None:
    store = JobStore(engine, artifact_days=30)
    job = submit()
    lease = claimed(store)
    done = store.finish(lease, SUCCEEDED, lease.prefix, 1000)
    assert done.expires_at is not None
    assert done.finished_at is not None
    assert done.expires_at - done.finished_at == pytest.approx(timedelta(days=30), abs=timedelta(minutes=1))
    assert retention.expire() == []
    (left,) = retention.unswept(0, 7)
    retention.swept(left)
    age(engine, job.id, 1, "expires_at")
    assert retention.expire() == [job.id]
    assert retention.expire() == []

    with pytest.raises(LayercutError, match="were kept until 20") as caught:
        store.artifact(job.id)
    assert caught.value.code == "expired"
    assert store.get(job.id).result == done.result, "the headline stays"
    (left,) = retention.unswept(0, 7)
    assert left.keep is None
    with engine.connect() as connection:
        assert connection.scalar(select(jobs.c.bytes)) is None


def test_files_of_before_there_was_a_time_are_given_one(
    store: JobStore, retention: RetentionStore, submit: Submit
) -> None:
    job, without = submit(), submit()
    lease = claimed(store)
    assert store.finish(lease, SUCCEEDED, lease.prefix).expires_at is None
    store.finish(claimed(store), FAILED)
    assert retention.set_expiry(30) == 1
    assert retention.set_expiry(30) == 0
    assert store.get(job.id).expires_at is not None
    assert store.get(without.id).expires_at is None


def test_files_of_a_deleted_job_are_looked_for_until_nobody_writes_any_more(
    store: JobStore, retention: RetentionStore, submit: Submit, engine: Engine
) -> None:
    job, never_ran = submit(), submit(priority=-1)
    store.finish(claimed(store), FAILED)
    store.cancel(never_ran.id)
    store.delete(job.id)
    store.delete(never_ran.id)
    assert swept(retention) == [job.id]
    assert swept(retention) == []
    deleted_earlier(engine, 500)
    assert swept(retention) == []
    deleted_earlier(engine, 200)
    assert swept(retention) == [job.id], "a worker may have written until it noticed"
    deleted_earlier(engine, 29 * DAY)
    assert (swept(retention), retention.forget_deleted()) == ([], 0)
    deleted_earlier(engine, 2 * DAY)
    (last,) = retention.deleted()
    retention.put_off_deleted(last)
    assert (swept(retention), retention.forget_deleted()) == ([], 1), "a store is away, and one has nothing to sweep"
    deleted_earlier(engine, DAY)
    assert swept(retention) == [job.id], "one that was frozen for longer may have written since"
    assert retention.forget_deleted() == 1


def swept(retention: RetentionStore) -> list[str]:
    """Deleted jobs whose files were due; they are gone."""
    due = retention.deleted()
    for job in due:
        retention.deleted_swept(job, 600)
    return [job.job_id for job in due]


def deleted_earlier(engine: Engine, seconds: float) -> None:
    """Move all times of deleted jobs so far into the past, as waiting would."""
    passed = timedelta(seconds=seconds)
    with engine.begin() as connection:
        for row in connection.execute(select(deleted_jobs)).all():
            times = {"deleted_at": row.deleted_at - passed, "sweep_at": row.sweep_at and row.sweep_at - passed}
            connection.execute(update(deleted_jobs).where(deleted_jobs.c.id == row.id).values(**times))


def test_old_jobs_go_with_all_their_rows_and_have_their_files_swept(
    store: JobStore, retention: RetentionStore, submit: Submit, engine: Engine
) -> None:
    old, new, waiting = submit(), submit(), submit()
    for _ in range(2):
        store.finish(claimed(store), FAILED)
    age(engine, old.id, 400, "finished_at")
    age(engine, waiting.id, 400, "created_at")
    assert retention.remove_ended(365) == [old.id]
    assert retention.remove_ended(365) == []
    assert {job.id for job in store.list()[0]} == {new.id, waiting.id}
    assert [job.job_id for job in retention.deleted()] == [old.id]


def test_old_jobs_whose_files_are_kept_stay_and_cost_no_round_anything(
    store: JobStore, retention: RetentionStore, submit: Submit, engine: Engine
) -> None:
    kept = submit()
    lease = claimed(store)
    store.finish(lease, SUCCEEDED, artifact=lease.prefix)
    age(engine, kept.id, 400, "finished_at")
    with engine.begin() as connection:
        row = connection.execute(select(jobs)).mappings().one()
        connection.execute(insert(jobs), [{**row, "id": f"job_{number:024}"} for number in range(1000)])
        connection.exec_driver_sql("ANALYZE")
    plans = []

    def look(connection: Connection, cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if statement.startswith("SELECT"):
            explain = "EXPLAIN QUERY PLAN " if engine.dialect.name == "sqlite" else "EXPLAIN "
            plans.append(str(connection.exec_driver_sql(explain + statement, parameters).all()))

    event.listen(engine, "before_cursor_execute", look)
    assert retention.remove_ended(365) == []
    assert ["ix_jobs_without_files" in plan for plan in plans] == [True]
    event.remove(engine, "before_cursor_execute", look)
    age(engine, kept.id, 1, "expired_at")
    assert retention.remove_ended(365) == [kept.id]


def test_a_piece_of_old_jobs_has_a_bounded_number_of_events(
    store: JobStore, retention: RetentionStore, submit: Submit, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.retention.EVENTS", 7)
    for _ in range(3):
        submit()
        store.finish(claimed(store), FAILED)
    with engine.begin() as connection:
        connection.execute(update(jobs).values(finished_at=later(-400 * DAY)))
    assert [len(retention.remove_ended(365)) for _ in range(3)] == [2, 1, 0]


def test_old_logs_go_and_the_log_says_that_it_begins_later(
    store: JobStore, retention: RetentionStore, submit: Submit, engine: Engine
) -> None:
    old, running = submit(), submit(priority=-1)
    store.finish(claimed(store), FAILED)
    claimed(store)
    with engine.begin() as connection:
        for job_id in (old.id, running.id):
            piece = {"job_id": job_id, "start": 0, "attempt": 1, "text": "hello", "created_at": later(-31 * DAY)}
            connection.execute(insert(job_logs).values(**piece))
        connection.execute(update(jobs).values(log_end=5))
    age(engine, old.id, 31, "finished_at")
    assert retention.remove_logs(30) == [old.id]
    assert retention.remove_logs(30) == []
    with engine.connect() as connection:
        assert connection.scalars(select(job_logs.c.job_id)).all() == [running.id]
        assert connection.scalar(select(jobs.c.log_start).where(jobs.c.id == old.id)) == 5


def test_old_keys_and_deliveries_that_are_over_go(retention: RetentionStore, engine: Engine) -> None:
    with engine.begin() as connection:
        for days in (0, 2):
            row = {"tenant": "default", "key": str(days), "fingerprint": "f", "token": "t"}
            connection.execute(insert(idempotency).values(**row, created_at=later(-days * DAY)))
        add_webhook(connection, "wh_1")
        for name, due, days in (("over", None, 31), ("due", later(), 31), ("never", later(), 45)):
            row = {"id": name, "webhook_id": "wh_1", "tenant": "default", "job_id": "job_1", "event_number": 1}
            told = {"event_type": "job.failed", "body": "{}", "state": name, "created_at": later(-days * DAY)}
            connection.execute(insert(deliveries).values(**row, **told, due_at=due))
    assert (retention.forget_keys(24), retention.remove_deliveries(30)) == (1, 2)
    with engine.connect() as connection:
        assert connection.scalars(select(idempotency.c.key)).all() == ["0"]
        assert connection.scalars(select(deliveries.c.id)).all() == ["due"]


def test_a_piece_of_old_jobs_has_logs_of_a_bounded_size(
    store: JobStore, retention: RetentionStore, submit: Submit, engine: Engine
) -> None:
    for _ in range(3):
        submit()
        store.finish(claimed(store), FAILED)
    with engine.begin() as connection:
        connection.execute(update(jobs).values(finished_at=later(-400 * DAY), log_end=2**30, log_start=2**30 - 2**25))
    assert [len(retention.remove_ended(365)) for _ in range(3)] == [1, 1, 1]


def test_what_an_older_layercut_wrote_beside_this_one_is_swept_expires_and_keeps_its_place(
    store: JobStore, retention: RetentionStore, submit: Submit, engine: Engine
) -> None:
    ended, first = submit(), submit()
    lease = claimed(store)
    store.finish(lease, SUCCEEDED, artifact=lease.prefix)
    second = submit()
    age(engine, ended.id, 0.5, "finished_at")
    with engine.begin() as connection:
        connection.execute(update(jobs).where(jobs.c.id == ended.id).values(sweep_at=None))
        connection.execute(update(jobs).where(jobs.c.id == first.id).values(queued_at=None))
    assert (retention.unswept(60, 7), retention.expire()) == ([], [])
    assert set(retention.adopt(30)) == {ended.id, first.id}
    assert retention.adopt(30) == []
    assert [job.job_id for job in retention.unswept(60, 7)] == [ended.id]
    assert store.get(ended.id).expires_at is not None
    assert [claimed(store).job_id for _ in range(2)] == [first.id, second.id]
    age(engine, ended.id, 1, "expires_at")
    assert retention.expire() == [ended.id]


def test_what_is_swept_is_not_taken_for_an_older_layercuts(
    store: JobStore, retention: RetentionStore, submit: Submit, overdue: Overdue
) -> None:
    job = submit()
    store.finish(claimed(store), SUCCEEDED)
    overdue(job.id, "finished_at")
    retention.swept(retention.unswept(60, 7)[0])
    assert retention.adopt(30) == []
