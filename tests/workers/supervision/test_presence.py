"""A worker tells the database that it is there, until it leaves; a database that is away stops no worker."""

from __future__ import annotations

import pytest

from api_schemas.workers import SandboxReport
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


def test_a_database_that_is_away_does_not_end_the_worker(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Presence(WorkerStore(rig.engine), "host-1", SandboxReport(complete=False))
    with rig.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE workers RENAME TO gone")
    here.close()
