"""Workers announce themselves, are seen, leave, and are forgotten."""

from __future__ import annotations

from sqlalchemy import Engine, update

from api_schemas.workers import Measure, SandboxReport
from store.columns import later
from store.tables import workers
from store.workers import FORGOTTEN_SECONDS, WorkerStore

REPORT = SandboxReport(complete=False, measures=[Measure(name="files", on=False, detail="the kernel is too old")])


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
    (found,) = store.living(FORGOTTEN_SECONDS * 2)
    assert (found.name, found.sandbox.complete) == ("again", True)
