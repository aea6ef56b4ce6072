"""What a worker does: claim, heartbeat, record, finish, release, and losing to another."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Engine, select, update

from api_schemas.errors import JobError, LayercutError
from api_schemas.events import EventType, NewEvent, SucceededData
from api_schemas.jobs import Result, Stage, Status
from store.jobs import Claim, JobStore, Lease, LeaseLost
from store.tables import jobs
from tests.support.events import say
from tests.support.store_samples import CANCELLED, FAILED, RESULT, SUCCEEDED, Submit

LOG = say(EventType.LOG, "a line")


def claimed(store: JobStore) -> Claim:
    claim = store.claim("worker-1")
    assert claim is not None
    return claim


def test_priority_goes_first_then_age(store: JobStore, submit: Submit) -> None:
    old, low, new, high = submit(), submit(priority=-1), submit(), submit(priority=9)
    assert [claimed(store).lease.job_id for _ in range(4)] == [high.id, old.id, new.id, low.id]
    assert store.claim("worker-1") is None


def test_a_claim_says_what_to_run(store: JobStore, submit: Submit) -> None:
    job = submit(prune={"strategy": "bottom", "drop": 3}, limits={"max_attempts": 2})
    assert store.has_queued()
    claim = claimed(store)
    assert (claim.lease.job_id, claim.lease.attempt) == (job.id, 1)
    assert (claim.request.prune.strategy, claim.request.prune.drop) == ("bottom", 3)
    assert claim.created_at == job.created_at
    assert not store.has_queued()
    running = store.get(job.id)
    assert (running.status, running.attempt, running.worker) == (Status.RUNNING, 1, "worker-1")
    assert running.started_at is not None


def test_a_request_that_cannot_be_read_any_more_fails_and_does_not_block(
    store: JobStore, engine: Engine, submit: Submit
) -> None:
    broken, sound = submit(), submit()
    with engine.begin() as connection:
        old = {"model": "acme/bert", "task": "a task of the past"}
        connection.execute(update(jobs).where(jobs.c.id == broken.id).values(request=old))
    assert claimed(store).lease.job_id == sound.id
    failed = store.get(broken.id)
    assert failed.status == Status.FAILED
    assert failed.error is not None
    assert "a task of the past" in failed.error.message


def test_reports_keep_the_row_current(store: JobStore, submit: Submit) -> None:
    job = submit()
    lease = claimed(store).lease

    def tell(kind: EventType, data: dict[str, object]) -> None:
        store.record(lease, say(kind, "", **data))

    tell(EventType.STAGE, {"stage": "resolving", "skipped": False})
    tell(EventType.STAGE, {"stage": "baseline", "skipped": True})
    assert store.get(job.id).stage == Stage.RESOLVING, "a stage that is skipped was never entered"
    assert job.resolved is not None
    decided = job.resolved.model_copy(update={"device": "cuda"})
    tell(EventType.RESOLVED, decided.model_dump())
    assert store.get(job.id).resolved == decided
    tell(EventType.PROGRESS, {"fraction": 0.25, "step": 5, "total_steps": 20})
    progress = store.get(job.id).progress
    assert (progress.fraction, progress.step, progress.total_steps) == (0.25, 5, 20)
    assert [event.number for event in store.events(job.id)[0]] == [1, 2, 3, 4, 5, 6]


def test_a_report_that_is_refused_leaves_no_gap(store: JobStore, submit: Submit) -> None:
    job = submit()
    lease = claimed(store).lease
    with pytest.raises(ValueError, match="lifecycle"):
        store.record(lease, SUCCEEDED)
    with pytest.raises(ValueError, match="does not end"):
        store.finish(lease, LOG)
    assert store.record(lease, LOG).number == 3
    assert store.get(job.id).status == Status.RUNNING


def test_success_points_at_the_artifact(store: JobStore, submit: Submit) -> None:
    job = submit()
    lease = claimed(store).lease
    assert store.artifact(job.id) is None
    done = store.finish(lease, SUCCEEDED, artifact=lease.prefix)
    whole = {**dict.fromkeys(Result.model_fields), **RESULT}
    assert done.status == Status.SUCCEEDED
    assert done.result is not None
    assert done.result.model_dump() == whole
    assert done.usage is not None
    assert done.usage.wall_seconds == 3.0
    assert done.progress.fraction == 1.0
    assert done.finished_at is not None
    assert store.artifact(job.id) == lease.prefix
    last = store.events(job.id)[0][-1]
    assert isinstance(last.data, SucceededData)
    assert last.data.result.model_dump() == whole


def test_failure_keeps_its_reason_and_its_files(store: JobStore, submit: Submit) -> None:
    job = submit()
    lease = claimed(store).lease
    failed = store.finish(lease, FAILED, artifact=lease.prefix)
    assert failed.status == Status.FAILED
    assert failed.error is not None
    assert (failed.error.code, failed.error.stage) == ("out_of_memory", "recovering")
    assert failed.status_reason == "no memory"
    assert store.artifact(job.id) == lease.prefix


# What a worker may do with a lease: none of it may change anything once the lease is lost.
WRITES: dict[str, Callable[[JobStore, Lease], object]] = {
    "heartbeat": lambda store, lease: store.heartbeat(lease),
    "record": lambda store, lease: store.record(lease, LOG),
    "finish": lambda store, lease: store.finish(lease, SUCCEEDED, artifact=lease.prefix),
    "fail": lambda store, lease: store.finish(lease, FAILED),
    "cancelled": lambda store, lease: store.finish(lease, CANCELLED),
    "release": lambda store, lease: store.release(lease, "late"),
}


HOW_LOST = ["queued", "claimed again", "succeeded", "cancelled", "token of another", "no such job"]


@pytest.mark.parametrize("now", HOW_LOST)
def test_a_lost_lease_changes_nothing(store: JobStore, submit: Submit, now: str) -> None:
    job = submit()
    lease = claimed(store).lease
    if now in ("queued", "claimed again"):
        store.release(lease, "the runner died")
    if now == "claimed again":
        claimed(store)
    if now == "succeeded":
        store.finish(lease, SUCCEEDED, artifact=lease.prefix)
    if now == "cancelled":
        store.cancel(job.id)
        store.finish(lease, CANCELLED)
    if now == "token of another":
        lease = Lease(lease.job_id, lease.attempt, "0" * 16)
    if now == "no such job":
        lease = Lease("job_000000000000000000000000", lease.attempt, lease.token)
    before, told, artifact = store.get(job.id), store.events(job.id), store.artifact(job.id)
    for name, write in WRITES.items():
        with pytest.raises(LeaseLost):
            write(store, lease)
        assert (store.get(job.id), store.events(job.id), store.artifact(job.id)) == (before, told, artifact), name


def test_a_heartbeat_keeps_the_job_from_being_reaped(store: JobStore, stale: JobStore, submit: Submit) -> None:
    job = submit()
    lease = claimed(stale).lease
    assert store.heartbeat(lease) == Status.RUNNING
    assert store.reap().requeued == []
    stale.heartbeat(lease)
    assert store.reap().requeued == [job.id]
    with pytest.raises(LeaseLost):
        store.heartbeat(lease)


def test_a_lost_attempt_is_tried_again_until_none_is_left(store: JobStore, stale: JobStore, submit: Submit) -> None:
    job = submit(limits={"max_attempts": 2})
    first = claimed(stale).lease
    stale.record(first, say(EventType.STAGE, "", **{"stage": "scoring"}))
    stale.record(first, say(EventType.PROGRESS, "", **{"fraction": 0.5}))
    assert store.reap().requeued == [job.id]
    again = store.get(job.id)
    assert (again.status, again.attempt, again.stage, again.worker) == (Status.QUEUED, 1, None, None)
    assert again.progress.fraction == 0
    assert again.status_reason is not None
    assert "worker-1" in again.status_reason

    second = claimed(stale).lease
    assert (second.attempt, second.token != first.token, second.prefix != first.prefix) == (2, True, True)
    assert store.get(job.id).status_reason is None
    assert store.reap().exhausted == [job.id]
    failed = store.get(job.id)
    assert failed.status == Status.FAILED
    assert failed.error is not None
    assert (failed.error.code, failed.error.retryable) == ("attempts_exhausted", True)
    assert store.claim("worker-2") is None
    assert store.reap() == type(store.reap())(), "nothing is left to reap"
    kinds = [event.type for event in store.events(job.id)[0]]
    assert kinds.count(EventType.ATTEMPT_LOST) == 1
    assert kinds[-1] == EventType.FAILED


BROKE = "CUDA error at 0x7f3a in /scratch/attempts/{}-9f8e7d6c5b: it broke"


def unforeseen(attempt: int, message: str = BROKE, stage: str = "baseline") -> NewEvent:
    error = {"code": "internal", "message": message.format(attempt), "stage": stage, "retryable": True}
    return say(EventType.FAILED, error["message"], error=error)


def test_an_error_that_nobody_foresaw_is_tried_again_and_not_for_ever(store: JobStore, submit: Submit) -> None:
    job = submit(limits={"max_attempts": 5})
    again = store.finish(claimed(store).lease, unforeseen(1))
    assert (again.status, again.error) == (Status.QUEUED, None)
    lost = store.events(job.id)[0][-1]
    assert lost.type == EventType.ATTEMPT_LOST
    assert lost.data.reason == f"internal: {BROKE.format(1)}"
    assert lost.data.attempts_left == 4

    lease = claimed(store).lease
    done = store.finish(lease, unforeseen(2), artifact=None)
    assert done.status == Status.FAILED
    assert done.error is not None
    assert (done.error.code, done.error.retryable, done.error.stage) == ("internal", False, "baseline")
    assert done.error.message.endswith("(attempts 1 and 2 both met this: trying again does not help)")
    assert done.status_reason == done.error.message
    assert store.claim("worker-1") is None
    with pytest.raises(LeaseLost):
        store.finish(lease, unforeseen(2))


@pytest.mark.parametrize("second", [unforeseen(2, "something else"), unforeseen(2, stage="recovering")])
def test_another_error_that_nobody_foresaw_may_pass_too(store: JobStore, submit: Submit, second: NewEvent) -> None:
    submit(limits={"max_attempts": 3})
    store.finish(claimed(store).lease, unforeseen(1))
    assert store.finish(claimed(store).lease, second).status == Status.QUEUED
    last = store.finish(claimed(store).lease, unforeseen(3))
    assert last.error is not None
    assert "attempts 1 and 3 both" in last.error.message, "though another error, or a lost runner, lay between"


def test_a_job_that_is_asked_for_again_may_meet_the_same_error_once_more(store: JobStore, submit: Submit) -> None:
    job = submit(limits={"max_attempts": 3})
    for attempt in (1, 2):
        store.finish(claimed(store).lease, unforeseen(attempt))
    assert store.retry(job.id).status == Status.QUEUED
    assert store.finish(claimed(store).lease, unforeseen(3)).status == Status.QUEUED
    last = store.finish(claimed(store).lease, unforeseen(4))
    assert last.error is not None
    assert "attempts 3 and 4 both" in last.error.message


def test_with_no_attempt_left_an_error_that_nobody_foresaw_ends_the_job(store: JobStore, submit: Submit) -> None:
    submit(limits={"max_attempts": 1})
    job = store.finish(claimed(store).lease, unforeseen(1))
    assert job.status == Status.FAILED
    assert job.error is not None
    assert (job.error.message, job.error.retryable) == (BROKE.format(1), True), "nobody knows whether it passes"


def test_every_other_error_ends_the_job_at_once(store: JobStore, submit: Submit) -> None:
    submit(limits={"max_attempts": 5})
    assert store.finish(claimed(store).lease, FAILED).status == Status.FAILED


def test_every_error_that_passes_is_tried_again_until_attempts_end(store: JobStore, submit: Submit) -> None:
    error = {"code": "hub_unavailable", "message": "the hub did not answer", "retryable": True}
    told = say(EventType.FAILED, error["message"], error=error)
    job = submit(limits={"max_attempts": 2})
    again = store.finish(claimed(store).lease, told)
    assert (again.status, again.error) == (Status.QUEUED, None)
    lost = store.events(job.id)[0][-1]
    assert lost.type == EventType.ATTEMPT_LOST
    assert lost.data.error is not None
    assert lost.data.error.code == "hub_unavailable"

    done = store.finish(claimed(store).lease, told)
    assert done.error is not None
    assert (done.status, done.error.code) == (Status.FAILED, "hub_unavailable")


def test_a_job_that_was_lost_takes_a_new_place_and_one_that_is_handed_back_keeps_its_own(
    store: JobStore, submit: Submit
) -> None:
    first, second = submit(), submit()
    store.hand_back(claimed(store).lease, "the worker is told to stop")
    lease = claimed(store).lease
    assert lease.job_id == first.id
    store.release(lease, "the runner died")
    assert claimed(store).lease.job_id == second.id


def pass_time(engine: Engine, seconds: float) -> None:
    """As if all had happened so much earlier."""
    with engine.begin() as connection:
        earlier = connection.execute(select(jobs.c.claimable_at)).scalar_one() - timedelta(seconds=seconds)
        connection.execute(update(jobs).values(claimable_at=earlier))


def test_after_each_loss_a_job_waits_twice_as_long(engine: Engine, submit: Submit) -> None:
    store = JobStore(engine, retry_seconds=100)
    job = submit(limits={"max_attempts": 9, "max_queue_seconds": 60})
    for seconds in (100, 200, 400, 600, 600):
        job = store.release(claimed(store).lease, "killed")
        assert (job.status, store.has_queued(), store.due_wakeups(0)) == (Status.QUEUED, False, 0)
        assert store.reap().timed_out == [], "it does not wait for the queue"
        assert "queued again, to be tried again from " in (job.status_reason or "")
        pass_time(engine, seconds - 30)
        assert store.claim("worker-1") is None
        pass_time(engine, 31)
        assert store.has_queued()


def test_a_job_that_is_handed_back_for_an_error_that_passes_waits_and_loses_no_attempt(
    engine: Engine, submit: Submit
) -> None:
    store = JobStore(engine, retry_seconds=100)
    submit(limits={"max_attempts": 1})
    error = JobError.of(LayercutError("storage_unavailable", "the artifact store does not answer"))
    job = store.hand_back(claimed(store).lease, error.message, error)
    assert (job.status, store.claim("worker-1")) == (Status.QUEUED, None)
    pass_time(engine, 101)
    assert claimed(store).lease.attempt == 2


def test_a_lease_that_ran_out_makes_its_job_wait_too(engine: Engine, submit: Submit) -> None:
    stale = JobStore(engine, lease_seconds=-1.0, retry_seconds=100)
    job = submit()
    claimed(stale)
    assert stale.reap().requeued == [job.id]
    assert stale.claim("worker-1") is None


def test_a_job_that_is_handed_back_has_lost_no_attempt(store: JobStore, submit: Submit) -> None:
    job = submit(limits={"max_attempts": 1})
    for attempt in (1, 2):
        lease = claimed(store).lease
        assert lease.attempt == attempt
        back = store.hand_back(lease, "the worker is told to stop")
        assert (back.status, back.worker) == (Status.QUEUED, None)
        assert "told to stop" in (back.status_reason or "")
    assert store.release(claimed(store).lease, "killed").status == Status.FAILED
    with pytest.raises(LeaseLost):
        store.hand_back(lease, "late")
    assert store.events(job.id)[0][-1].type == EventType.FAILED


def test_the_last_attempt_says_what_it_met(store: JobStore, submit: Submit) -> None:
    submit(limits={"max_attempts": 1})
    full = JobError.of(LayercutError("storage_full", "the worker's disk is full"))
    job = store.release(claimed(store).lease, "storage_full: the worker's disk is full", full)
    assert job.error is not None
    assert (job.error.code, job.error.retryable) == ("storage_full", True)
    assert job.error.message == "attempt 1 of 1 was lost: storage_full: the worker's disk is full"


def test_release_gives_up_after_the_last_attempt(store: JobStore, submit: Submit) -> None:
    submit(limits={"max_attempts": 1})
    job = store.release(claimed(store).lease, "the runner was killed by signal 9")
    assert job.status == Status.FAILED
    assert job.error is not None
    assert job.error.code == "attempts_exhausted"
    assert "signal 9" in job.error.message


def test_who_waits_too_long_fails(store: JobStore, submit: Submit, overdue: Callable[[str, str], None]) -> None:
    patient, hasty = submit(), submit(limits={"max_queue_seconds": 60})
    overdue(hasty.id, "queue_expires_at")
    store.cancel(patient.id)
    assert store.claim("w") is None, "it is too late for it, reaped or not"
    assert store.reap().timed_out == [hasty.id]
    failed = store.get(hasty.id)
    assert failed.status == Status.FAILED
    assert failed.error is not None
    assert failed.error.code == "queue_timeout"
    assert "60" in failed.error.message


def test_the_wait_starts_anew_when_an_attempt_was_lost(
    store: JobStore, submit: Submit, overdue: Callable[[str, str], None]
) -> None:
    job = submit(limits={"max_queue_seconds": 60})
    lease = claimed(store).lease
    overdue(job.id, "queue_expires_at")
    store.release(lease, "lost")
    assert store.reap().timed_out == []
    assert claimed(store).lease.job_id == job.id


def test_a_wakeup_is_due_once_the_last_one_is_old(
    store: JobStore, submit: Submit, overdue: Callable[[str, str], None]
) -> None:
    fresh, old = submit(), submit()
    overdue(old.id, "woken_at")
    assert store.due_wakeups(60) == 1
    assert store.due_wakeups(60) == 0
    store.cancel(old.id)
    lease = claimed(store).lease
    assert store.due_wakeups(60) == 0
    store.release(lease, "lost")
    assert store.due_wakeups(60) == 1, "nobody was woken for a job that came back"
    assert store.get(fresh.id).status == Status.QUEUED
