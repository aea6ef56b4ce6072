"""Lost leases, and databases that are away: nothing is published twice, and nothing is given up too early."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from api_schemas.events import EventType
from api_schemas.jobs import Status
from store.jobs import JobStore
from tests.support.processes import eventually, gone
from tests.support.supervisor_rig import FAKE_RUNNER, UNLOCKED, Rig, no_inputs
from workers.settings import WorkerSettings
from workers.supervision.supervisor import Supervisor


class WobblyStore(JobStore):
    """A database whose answers get lost while ``away`` is set; ``lost_finishes`` are kept and then unanswered."""

    away = False
    lost_finishes = 0
    #: Tries to finish that find its disk full.
    full_finishes = 0

    def __getattribute__(self, name: str) -> Any:
        if name in ("heartbeat", "record", "heads") and self.away:
            raise OperationalError("SELECT 1", {}, psycopg.OperationalError("the database is away"))
        return super().__getattribute__(name)

    def finish(self, *given: Any) -> Any:
        if self.full_finishes:
            self.full_finishes -= 1
            raise OSError(errno.ENOSPC, "no space left on device")
        job = super().finish(*given)
        if self.lost_finishes:
            self.lost_finishes -= 1
            raise OperationalError("COMMIT", {}, psycopg.OperationalError("the answer is lost"))
        return job


@pytest.fixture
def wobbly(rig: Rig) -> WobblyStore:
    """The rig's supervisor now talks to this store."""
    rig.supervisor.close()
    store = WobblyStore(rig.engine, rig.settings.lease_seconds)
    rig.supervisor = Supervisor(
        store,
        rig.cache,
        rig.artifacts,
        rig.settings,
        command=FAKE_RUNNER,
        worker="rig",
        stage=no_inputs,
        sandbox=UNLOCKED,
    )
    return store


def test_a_lost_lease_kills_the_runner_and_writes_nothing(rig: Rig, tmp_path: Path) -> None:
    rig.settings.heartbeat_seconds = 0.1
    job_id = rig.submit(f"pid:{tmp_path}/pid", f"touch:{tmp_path}/here", "deaf", "linger")
    thread = rig.start()
    eventually((tmp_path / "here").exists)
    rig.steal(job_id)
    thread.join(20)

    assert not thread.is_alive()
    assert gone(int((tmp_path / "pid").read_text()))
    assert rig.store.get(job_id).status == Status.RUNNING  # the other's business
    assert [event.type for event in rig.events(job_id)] == [EventType.QUEUED, EventType.STARTED]


def test_a_job_may_run_for_longer_than_its_lease(rig: Rig, tmp_path: Path) -> None:
    rig.settings.heartbeat_seconds = 0.1
    job_id = rig.submit(f"touch:{tmp_path}/here", f"wait:{tmp_path}/go", "succeed")
    thread = rig.start()
    eventually((tmp_path / "here").exists)

    def expiry() -> str:
        with rig.engine.connect() as connection:
            return str(connection.execute(text("SELECT lease_expires_at FROM jobs")).scalar_one())

    first = expiry()
    eventually(lambda: expiry() > first)
    (tmp_path / "go").touch()
    thread.join(20)
    assert rig.store.get(job_id).status == Status.SUCCEEDED


def test_what_a_loser_has_uploaded_is_swept(rig: Rig, tmp_path: Path) -> None:
    job_id = rig.submit(f"touch:{tmp_path}/here", f"wait:{tmp_path}/go", "succeed")
    thread = rig.start()
    eventually((tmp_path / "here").exists)
    rig.steal(job_id)
    (tmp_path / "go").touch()
    thread.join(20)

    assert rig.store.artifact(job_id) is None
    assert rig.stored(job_id) == []


def test_the_winner_sweeps_what_losers_left(rig: Rig) -> None:
    job_id = rig.submit("succeed")
    folder = rig.settings.data_dir / "loser"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    rig.artifacts.publish(f"jobs/{job_id}/attempts/1-loser", folder)
    assert rig.supervisor.work()

    prefix = rig.store.artifact(job_id)
    assert prefix is not None
    assert rig.stored(job_id) == [prefix.rpartition("/")[2]]


def test_a_database_that_comes_back_in_time_costs_nothing(rig: Rig, wobbly: WobblyStore, tmp_path: Path) -> None:
    rig.settings.heartbeat_seconds = 0.1
    stages = ("stage:baseline", "log:one", "log:two", "stage:evaluating")
    job_id = rig.submit(f"wait:{tmp_path}/away", *stages, f"touch:{tmp_path}/told", f"wait:{tmp_path}/go", "succeed")
    thread = rig.start()
    eventually(lambda: rig.store.get(job_id).status == Status.RUNNING)
    wobbly.away = True
    (tmp_path / "away").touch()
    eventually((tmp_path / "told").exists)
    wobbly.away = False
    (tmp_path / "go").touch()
    thread.join(20)

    assert rig.store.get(job_id).status == Status.SUCCEEDED
    told = [event.message for event in rig.events(job_id)][2:-1]
    assert told == ["stage", "one", "two", "stage", "publishing"]


@pytest.mark.slow
def test_a_database_that_stays_away_ends_the_attempt_with_the_lease(
    tmp_path: Path, wobbly: WobblyStore, rig: Rig
) -> None:
    rig.settings.lease_seconds = 5.0  # of which a busy machine loses none while it starts the runner
    rig.settings.heartbeat_seconds = 0.1
    job_id = rig.submit(f"pid:{tmp_path}/pid", f"touch:{tmp_path}/here", "linger")
    thread = rig.start()
    eventually((tmp_path / "here").exists)
    wobbly.away = True
    thread.join(20)

    assert not thread.is_alive()
    assert gone(int((tmp_path / "pid").read_text()))
    assert rig.store.get(job_id).status == Status.RUNNING  # until the reaper takes it back


def test_an_ending_that_was_kept_but_not_answered_keeps_its_files(rig: Rig, wobbly: WobblyStore) -> None:
    wobbly.lost_finishes = 1
    job = rig.run("succeed")

    assert job.status == Status.SUCCEEDED
    prefix = rig.store.artifact(job.id)
    assert prefix is not None
    assert rig.artifacts.manifest(prefix).archive.name == f"{job.id}.tar"  # type: ignore[union-attr]
    assert [event.type for event in rig.events(job.id)].count(EventType.SUCCEEDED) == 1


def test_two_supervisors_and_ten_jobs_make_ten_runs(rig: Rig, worker_settings: WorkerSettings) -> None:
    other = Rig(worker_settings, FAKE_RUNNER, no_inputs)
    jobs = [rig.submit("succeed") for _ in range(10)]

    def drain(each: Rig) -> None:
        while each.supervisor.work():
            pass

    threads = [threading.Thread(target=drain, args=(each,)) for each in (rig, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    other.close()

    assert [rig.store.get(job_id).status for job_id in jobs] == [Status.SUCCEEDED] * 10
    assert [rig.store.get(job_id).attempt for job_id in jobs] == [1] * 10


def test_what_is_done_is_kept_when_the_databases_disk_has_room_again(rig: Rig, wobbly: WobblyStore) -> None:
    wobbly.full_finishes = 2
    job = rig.run("succeed")
    assert (job.status, job.attempt) == (Status.SUCCEEDED, 1)
