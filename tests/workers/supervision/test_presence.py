"""A worker tells the database that it is there, until it leaves; a database that is away stops no worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from api_schemas.speeds import Speeds
from api_schemas.workers import DRAINING, About, SandboxReport
from store.workers import WorkerStore
from tests.support.processes import eventually
from tests.support.supervisor_rig import Rig
from workers.supervision import presence
from workers.supervision.presence import Presence


def test_it_is_seen_again_and_again_until_it_leaves(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "SEEN_SECONDS", 0.01)
    store = WorkerStore(rig.engine)
    here = Presence(store, "host-1", SandboxReport(complete=True))
    (first,) = store.living(60)
    assert (first.name, first.sandbox.complete) == ("host-1", True)
    eventually(lambda: store.living(60)[0].seen_at > first.seen_at)
    here.close()
    assert store.living(60) == []


@pytest.fixture
def here(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Iterator[Presence]:
    monkeypatch.setattr(presence, "SEEN_SECONDS", 0.01)
    here = Presence(WorkerStore(rig.engine), "host-1", SandboxReport(complete=True))
    yield here
    here.close()


def test_what_it_has_learnt_of_itself_is_told_and_told_again_where_it_was_forgotten(rig: Rig, here: Presence) -> None:
    store = WorkerStore(rig.engine)
    about = About(host="h", pid=1, version="1", device="cpu", speeds=Speeds(precision="fp32", matmul=1e11))
    here.describe(about)
    eventually(lambda: [worker.about for worker in store.list(60, None)] == [about])
    store.leave("host-1")
    here.changed()
    eventually(lambda: [worker.about for worker in store.list(60, None)] == [about])


def state(rig: Rig) -> list[tuple[str, str | None]]:
    return [(worker.state, worker.paused_reason) for worker in WorkerStore(rig.engine).list(60, None)]


def test_what_it_could_not_tell_while_the_database_was_away_is_told_afterwards(
    rig: Rig, here: Presence, caplog: pytest.LogCaptureFixture
) -> None:
    def while_away(tell: Callable[[], None]) -> None:
        rename(rig, "workers", "gone")
        caplog.clear()
        tell()
        eventually(lambda: caplog.text.count("cannot tell the database") > 1)
        rename(rig, "gone", "workers")

    while_away(lambda: here.pause("its disk is full"))
    eventually(lambda: state(rig) == [("paused", "its disk is full")])
    while_away(lambda: here.pause(None))
    eventually(lambda: state(rig) == [("idle", None)])
    while_away(here.drain)
    eventually(lambda: state(rig) == [("draining", DRAINING)])
    here.pause(None)
    seen = WorkerStore(rig.engine).living(60)[0].seen_at
    eventually(lambda: WorkerStore(rig.engine).living(60)[0].seen_at > seen)
    assert state(rig) == [("draining", DRAINING)], "room on its disk does not have it take jobs again"


def test_one_that_was_frozen_until_it_was_forgotten_is_seen_again_as_it_is(rig: Rig, here: Presence) -> None:
    here.pause("its disk is full")
    store = WorkerStore(rig.engine)
    store.leave("host-1")
    eventually(lambda: state(rig) == [("paused", "its disk is full")])
    assert store.living(60)[0].sandbox.complete


def rename(rig: Rig, table: str, name: str) -> None:
    with rig.engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {name}")


def test_a_database_that_is_away_does_not_end_the_worker(rig: Rig) -> None:
    here = Presence(WorkerStore(rig.engine), "host-1", SandboxReport(complete=False))
    rename(rig, "workers", "gone")
    here.close()
