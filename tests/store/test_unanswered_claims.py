"""Claims that the database did not confirm: a job that nobody began loses no attempt."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import OperationalError

from api_schemas.jobs import Status
from store import leases, upkeep
from store.claims import Claimant
from store.jobs import JobStore
from tests.support.processes import eventually
from tests.support.store_samples import SUCCEEDED, Submit

BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@contextmanager
def unanswered(engine: Engine, *, counts: bool) -> Iterator[None]:
    """The next commit gets no answer; whether it ``counts``."""

    def lose(connection: Connection) -> None:
        event.remove(engine, "commit", lose)
        if counts:
            connection.connection.commit()
        raise OperationalError("COMMIT", {}, psycopg.OperationalError("the answer is lost"))

    event.listen(engine, "commit", lose)
    with pytest.raises(OperationalError):
        yield


@pytest.mark.parametrize("counts", [True, False])
def test_a_job_whose_claim_was_not_answered_is_taken_again_and_loses_no_attempt(
    store: JobStore, engine: Engine, submit: Submit, counts: bool
) -> None:
    job = submit(limits={"max_attempts": 1})
    with unanswered(engine, counts=counts):
        store.claim("w")
    assert store.get(job.id).status == (Status.RUNNING if counts else Status.QUEUED)
    with unanswered(engine, counts=False):  # it is still away
        store.claim("w")
    claim = store.claim("w")
    assert claim is not None
    store.release(claim.lease, "the runner died")
    ended = store.get(job.id)
    assert (ended.status, ended.attempt) == (Status.FAILED, 2 if counts else 1), "one attempt ran, and was the last"
    assert store.claim("w") is None


def test_a_job_that_was_not_taken_after_all_is_left_to_whoever_took_it(
    store: JobStore, engine: Engine, submit: Submit
) -> None:
    job = submit()
    with unanswered(engine, counts=False):
        store.claim("w")
    other = JobStore(engine).claim("other")
    assert other is not None
    assert store.claim("w") is None
    assert store.finish(other.lease, SUCCEEDED).status == Status.SUCCEEDED
    store.delete(job.id)


def test_a_commit_that_is_still_under_way_is_waited_for(store: JobStore, engine: Engine, submit: Submit) -> None:
    job = submit(limits={"max_attempts": 1})

    def give_back() -> None:
        with engine.begin() as connection:
            upkeep.give_back_unanswered(connection, claim.lease, 0)

    thread = threading.Thread(target=give_back)
    with engine.begin() as connection:
        claim = leases.claim(connection, Claimant("w"), 60)
        assert claim is not None
        thread.start()
        if engine.dialect.name == "postgresql":  # SQLite has one writer at a time
            eventually(lambda: blocked(engine))
    thread.join()
    assert store.get(job.id).status == Status.QUEUED
    assert store.claim("w") is not None


def blocked(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text(BLOCKED)).scalar_one())
