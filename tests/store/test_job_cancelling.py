"""Cancelling: in the queue, while a worker has the job, and when it is too late."""

from __future__ import annotations

import pytest

from api_schemas.errors import LayercutError
from api_schemas.events import EventType, NewEvent
from api_schemas.jobs import Status
from store.jobs import Claim, JobStore
from store.rows import IllegalTransition
from tests.support.events import say
from tests.support.store_samples import CANCELLED, FAILED, SUCCEEDED, Submit

LOG = say(EventType.LOG, "a line")


def claimed(store: JobStore) -> Claim:
    claim = store.claim("worker-1")
    assert claim is not None
    return claim


def test_cancel_in_the_queue(store: JobStore, submit: Submit) -> None:
    job = submit()
    cancelled = store.cancel(job.id)
    assert cancelled.status == Status.CANCELLED
    assert cancelled.finished_at is not None
    assert store.cancel(job.id) == cancelled, "the second time changes nothing"
    assert store.claim("w") is None
    assert [event.type for event in store.events(job.id)[0]] == [EventType.QUEUED, EventType.CANCELLED]


@pytest.mark.parametrize("ending", [SUCCEEDED, FAILED, CANCELLED], ids=lambda event: event.type.value)
def test_however_it_ends_a_job_being_cancelled_is_cancelled(store: JobStore, submit: Submit, ending: NewEvent) -> None:
    job = submit()
    lease = claimed(store).lease
    cancelling = store.cancel(job.id)
    assert cancelling.status == Status.CANCELLING
    assert store.cancel(job.id) == cancelling, "the second time changes nothing"
    assert store.heartbeat(lease) == Status.CANCELLING
    done = store.finish(lease, ending, artifact=lease.prefix)
    assert (done.status, done.result, done.error) == (Status.CANCELLED, None, None)
    assert store.artifact(job.id) is None
    assert store.events(job.id)[0][-1].type == EventType.CANCELLED


def test_a_worker_that_dies_while_its_job_is_cancelled_ends_it(
    store: JobStore, stale: JobStore, submit: Submit
) -> None:
    by_reaper, by_release = submit(), submit()
    claimed(stale)
    lease = claimed(store).lease
    store.cancel(by_reaper.id)
    store.cancel(by_release.id)
    assert store.release(lease, "killed").status == Status.CANCELLED
    assert store.reap().cancelled == [by_reaper.id]
    assert store.get(by_reaper.id).status == Status.CANCELLED


@pytest.mark.parametrize("ending", [SUCCEEDED, FAILED], ids=lambda event: event.type.value)
def test_a_job_that_has_ended_cannot_be_cancelled(store: JobStore, submit: Submit, ending: NewEvent) -> None:
    job = submit()
    store.finish(claimed(store).lease, ending)
    with pytest.raises(LayercutError, match=store.get(job.id).status.value) as caught:
        store.cancel(job.id)
    assert caught.value.code == "job_already_terminal"


def test_a_worker_cannot_cancel_what_nobody_asked_to_cancel(store: JobStore, submit: Submit) -> None:
    job = submit()
    with pytest.raises(IllegalTransition):
        store.finish(claimed(store).lease, CANCELLED)
    assert store.get(job.id).status == Status.RUNNING
