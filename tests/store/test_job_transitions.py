"""``TRANSITIONS`` is the one authority on what may follow what."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import Engine

import store as room
from api_schemas.errors import LayercutError
from api_schemas.jobs import TRANSITIONS, Status
from store.jobs import JobStore, Lease, LeaseLost
from store.rows import IllegalTransition, moving
from store.tables import jobs
from tests.support.store_samples import CANCELLED, FAILED, SUCCEEDED, Submit


def _running(store: JobStore, job_id: str) -> Lease:
    claim = store.claim("w")
    assert claim is not None
    assert claim.lease.job_id == job_id
    return claim.lease


def _cancelling(store: JobStore, job_id: str) -> None:
    _running(store, job_id)
    store.cancel(job_id)


# How a user's job gets into each status.
REACH: dict[Status, Callable[[JobStore, str], object]] = {
    Status.QUEUED: lambda store, job_id: None,
    Status.RUNNING: _running,
    Status.CANCELLING: _cancelling,
    Status.SUCCEEDED: lambda store, job_id: store.finish(_running(store, job_id), SUCCEEDED),
    Status.FAILED: lambda store, job_id: store.finish(_running(store, job_id), FAILED),
    Status.CANCELLED: lambda store, job_id: store.cancel(job_id),
}


@pytest.mark.parametrize("source", Status)
def test_only_what_the_table_has_can_be_written(
    store: JobStore, engine: Engine, submit: Submit, source: Status
) -> None:
    for place, target in enumerate(Status):
        job = submit(priority=place)  # each is claimed before those that were left in the queue
        REACH[source](store, job.id)
        assert store.get(job.id).status == source
        changed = sum(_force(engine, job.id, claimed_source, target) for claimed_source in Status)
        allowed = target in TRANSITIONS[source]
        assert changed == (1 if allowed else 0)
        assert store.get(job.id).status == (target if allowed else source)


def _force(engine: Engine, job_id: str, source: Status, target: Status) -> int:
    """Try to write ``target`` with a statement made for ``source``; returns the number of rows that changed."""
    try:
        statement = moving(source, target).where(jobs.c.id == job_id)
    except IllegalTransition:
        return 0
    with engine.begin() as connection:
        return connection.execute(statement).rowcount


def test_no_other_statement_writes_a_status() -> None:
    folder = Path(room.__file__).parent
    writers = {
        path.name: len(re.findall(r"""\bstatus=(?!row\.)|["']status["']:""", path.read_text()))
        for path in folder.glob("*.py")
        if path.name != "idempotency.py"  # of an answer
        if not re.search("upload|stud", path.name)  # of theirs
    }
    assert {name: count for name, count in writers.items() if count} == {"rows.py": 1, "creating.py": 1}, (
        "moving() writes every change of status, and create() the first status"
    )


def test_any_mixture_of_calls_follows_the_table(store: JobStore, stale: JobStore, submit: Submit) -> None:
    chance = random.Random(7)
    ids = [submit(limits={"max_attempts": 2}).id for _ in range(6)]
    leases: list[Lease] = []
    seen = {job_id: store.get(job_id).status for job_id in ids}
    reached: set[tuple[Status, Status]] = set()

    def claim() -> None:
        taken = chance.choice([store, stale]).claim("w")
        if taken:
            leases.append(taken.lease)

    calls: list[Callable[[], object]] = [
        claim,
        claim,
        lambda: store.cancel(chance.choice(ids)),
        lambda: store.retry(chance.choice(ids)),
        store.reap,
        lambda: leases and store.heartbeat(chance.choice(leases)),
        lambda: leases and store.release(chance.choice(leases), "chance"),
        lambda: leases and store.finish(chance.choice(leases), chance.choice([SUCCEEDED, FAILED, CANCELLED])),
    ]
    for _ in range(150):
        if all(status.terminal for status in seen.values()):
            ids.append(submit(limits={"max_attempts": 2}).id)
            seen[ids[-1]] = Status.QUEUED
        with suppress(LeaseLost, LayercutError, IllegalTransition):
            chance.choice(calls)()
        for job_id, before in seen.items():
            after = store.get(job_id).status
            if after != before:
                assert after in TRANSITIONS[before], f"{before} -> {after}"
                reached.add((before, after))
                seen[job_id] = after
    assert len(reached) >= 6, f"the walk saw too little to mean something: {reached}"
