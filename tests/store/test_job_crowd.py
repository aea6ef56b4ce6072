"""Many at once: threads of one process, and processes of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from threading import Barrier

import pytest
from sqlalchemy import Engine

from api_schemas.events import EventType
from api_schemas.jobs import Status
from store.jobs import JobStore, Lease
from store.tables import METADATA, jobs
from tests.support.crowd import claim_all, migrate_once, reap_all
from tests.support.events import say
from tests.support.store_samples import FAILED, Submit

PROCESSES = 3
THREADS = 8


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    # spawn: a forked child would share the parent's database connections
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        yield pool


def test_processes_share_out_the_queue(
    engine: Engine, database_url: str, submit: Submit, processes: ProcessPoolExecutor
) -> None:
    ids = [submit(priority=number % 3).id for number in range(45)]
    futures = [processes.submit(claim_all, database_url, f"worker-{number}") for number in range(PROCESSES)]
    taken = [job_id for future in futures for job_id in future.result()]
    assert Counter(taken) == Counter(ids)


def test_threads_that_claim_together_get_one_job_each(store: JobStore, submit: Submit) -> None:
    ids = [submit().id for _ in range(THREADS)]
    start = Barrier(THREADS)

    def claim(number: int) -> str | None:
        start.wait()
        taken = store.claim(f"worker-{number}")
        return taken.lease.job_id if taken else None

    with ThreadPoolExecutor(THREADS) as pool:
        taken = list(pool.map(claim, range(THREADS)))
    assert sorted(filter(None, taken)) == ids
    assert {store.get(job_id).attempt for job_id in ids} == {1}


def test_events_written_at_once_are_numbered_without_gaps(store: JobStore, submit: Submit) -> None:
    job = submit()
    claim = store.claim("w")
    assert claim is not None
    start = Barrier(THREADS + 1)

    def talk(number: int) -> list[int]:
        start.wait()
        lines = [say(EventType.LOG, f"{number}: {line}") for line in range(10)]
        return [store.record(claim.lease, line).number for line in lines]

    def cancel() -> None:
        start.wait()
        store.cancel(job.id)

    with ThreadPoolExecutor(THREADS + 1) as pool:
        cancelled = pool.submit(cancel)
        told = list(pool.map(talk, range(THREADS)))
        cancelled.result()
    numbers = [event.number for event in store.events(job.id, limit=1000)[0]]
    assert numbers == list(range(1, 2 + THREADS * 10 + 1 + 1))
    for own in told:
        assert own == sorted(own)


def test_reapers_do_not_undo_each_other(
    store: JobStore, stale: JobStore, database_url: str, submit: Submit, processes: ProcessPoolExecutor
) -> None:
    ids = [submit().id for _ in range(30)]
    while stale.claim("lost"):
        pass
    futures = [processes.submit(reap_all, database_url) for _ in range(PROCESSES)]
    changed = [job_id for future in futures for job_id in future.result()]
    assert Counter(changed) == Counter(ids)
    for job_id in ids:
        kinds = [event.type for event in store.events(job_id)[0]]
        assert kinds == [EventType.QUEUED, EventType.STARTED, EventType.ATTEMPT_LOST]


def test_a_finish_and_a_cancel_at_once_leave_one_outcome(store: JobStore, submit: Submit) -> None:
    start = Barrier(2)

    def finish(lease: Lease) -> None:
        start.wait()
        store.finish(lease, FAILED)

    def cancel(job_id: str) -> None:
        start.wait()
        store.cancel(job_id)

    with ThreadPoolExecutor(2) as pool:
        for _ in range(10):
            job = submit()
            claim = store.claim("w")
            assert claim is not None
            finishing, cancelling = pool.submit(finish, claim.lease), pool.submit(cancel, job.id)
            assert finishing.exception() is None
            too_late = cancelling.exception() is not None
            endings = [event.type for event in store.events(job.id)[0] if event.type.terminal]
            assert len(endings) == 1
            assert store.get(job.id).status == (Status.FAILED if too_late else Status.CANCELLED)


def test_processes_that_start_together_migrate_once(empty_database_url: str, processes: ProcessPoolExecutor) -> None:
    futures = [processes.submit(migrate_once, empty_database_url) for _ in range(PROCESSES)]
    for future in futures:
        assert future.result() == {*METADATA.tables, "alembic_version"}


def test_a_reader_does_not_wait_for_a_writer(store: JobStore, engine: Engine, submit: Submit) -> None:
    job = submit()
    with engine.begin() as writer:
        writer.execute(jobs.update().where(jobs.c.id == job.id).values(model="not committed"))
        assert store.get(job.id).model == "acme/bert"
        assert [listed.model for listed in store.list()[0]] == ["acme/bert"]
