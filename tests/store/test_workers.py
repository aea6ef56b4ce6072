"""Workers announce themselves, are seen, leave, and are forgotten."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, update

from api_schemas.workers import DRAINING, About, Measure, SandboxReport
from store.columns import later
from store.tables import DEFAULT_TENANT, workers
from store.workers import FORGOTTEN_SECONDS, Doing, WorkerStore
from tests.support.store_samples import Submit

REPORT = SandboxReport(complete=False, measures=[Measure(name="files", on=False, detail="the kernel is too old")])

ABOUT = About(host="h", pid=1, version="0.1.0", device="cpu")


def silent_for(engine: Engine, name: str, seconds: float) -> None:
    with engine.begin() as connection:
        connection.execute(update(workers).where(workers.c.name == name).values(seen_at=later(-seconds)))


def names(store: WorkerStore) -> list[str]:
    return [worker.name for worker in store.living(60)]


def test_a_worker_lives_as_long_as_it_is_heard_of(engine: Engine) -> None:
    store = WorkerStore(engine)
    store.announce("b", REPORT)
    store.announce("a", SandboxReport(complete=True))
    assert [(worker.name, worker.sandbox) for worker in store.living(60)][1] == ("b", REPORT)
    silent_for(engine, "b", 61)
    assert names(store) == ["a"]
    store.seen("b")
    assert names(store) == ["a", "b"]
    store.leave("a")
    assert names(store) == ["b"]


def test_one_that_starts_again_is_there_once_and_the_long_gone_are_forgotten(engine: Engine) -> None:
    store = WorkerStore(engine)
    store.announce("gone", REPORT)
    silent_for(engine, "gone", FORGOTTEN_SECONDS + 1)
    store.announce("again", REPORT)
    store.announce("again", SandboxReport(complete=True))
    assert not store.seen("gone"), "it is told that it is not known"
    (found,) = store.living(FORGOTTEN_SECONDS * 2)
    assert (found.name, found.sandbox.complete) == ("again", True)


def test_it_is_shown_with_what_it_is_and_does(engine: Engine, submit: Submit) -> None:
    store, job_id = WorkerStore(engine), submit().id
    about = About(host="h", pid=7, version="1", device="cuda", gpu_name="H200", gpu_memory_bytes=2**37)
    store.announce("w", REPORT, about)
    (idle,) = store.list(60, DEFAULT_TENANT)
    assert (idle.state, idle.about, idle.job_id, idle.progress_at) == ("idle", about, None, None)
    store.seen("w", Doing(job_id, 2, idle_seconds=30.0))
    (busy,) = store.list(60, DEFAULT_TENANT)
    assert (busy.state, busy.job_id, busy.attempt) == ("busy", job_id, 2)
    assert busy.progress_at is not None
    assert 25 < (busy.seen_at - busy.progress_at).total_seconds() < 35
    (theirs,) = store.list(60, "another tenant")
    assert (theirs.state, theirs.job_id, theirs.attempt) == ("busy", None, None)
    assert store.list(60, None)[0].job_id == job_id


def test_a_pause_says_why_and_ends(engine: Engine) -> None:
    store = WorkerStore(engine)
    store.announce("w", REPORT)
    for reason, state in (("its disk is full", "paused"), (DRAINING, "draining"), (None, "idle")):
        assert store.seen("w", paused_reason=reason)
        (worker,) = store.list(60, None)
        assert (worker.state, worker.paused_reason) == (state, reason)


@pytest.mark.parametrize(
    ("told", "known"),
    [
        ({"speeds": {"precision": "fp8"}}, ABOUT),
        ({"speeds": None}, ABOUT),
        ({"device": "tpu"}, None),
    ],
)
def test_what_a_newer_worker_says_of_itself_is_read_as_far_as_it_is_known(
    engine: Engine, told: dict[str, Any], known: About | None
) -> None:
    store = WorkerStore(engine)
    store.announce("w", REPORT, ABOUT)
    with engine.begin() as connection:
        connection.execute(update(workers).values(about={**ABOUT.model_dump(mode="json"), **told}))
    (worker,) = store.list(60, None)
    assert (worker.name, worker.about) == ("w", known)
