"""What a runner says on stderr is the job's log: harmless, bounded, there when the job has ended."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from api_schemas.jobs import Status
from store.jobs import JobStore, Lease
from tests.support.processes import eventually
from tests.support.supervisor_rig import Rig
from workers.supervision.log_writer import LogWriter, harmless


@pytest.fixture
def lease(rig: Rig) -> Lease:
    rig.submit()
    taken = rig.store.claim("worker-1")
    assert taken is not None
    return taken.lease


def told(store: JobStore, job_id: str) -> list[str]:
    pieces, offset = [], 0
    while not pieces or pieces[-1]:
        page = store.log(job_id, offset, 2**20)
        pieces.append("".join(piece.text for piece in page.data))
        offset = page.next_offset
    return "".join(pieces).splitlines()


def test_the_log_of_a_job_has_its_last_line_when_it_has_ended(rig: Rig) -> None:
    job = rig.run("moan:one", "moan:two", "succeed")
    assert job.status is Status.SUCCEEDED
    lines = told(rig.store, job.id)
    assert lines[0] == "[layercut] attempt 1 starts"
    assert lines[1:3] == ["one", "two"]
    assert lines[-1].startswith("[layercut] attempt 1: the runner told job.succeeded")
    assert rig.store.log(job.id, 0).complete


def test_each_attempt_is_in_the_log(rig: Rig) -> None:
    job = rig.run("moan:one", "exit:3", max_attempts=2)
    assert job.status is Status.QUEUED
    assert rig.supervisor.work()
    page = rig.store.log(job.id)
    assert {piece.attempt for piece in page.data} == {1, 2}
    assert told(rig.store, job.id).count("one") == 2
    assert "[layercut] attempt 1: the runner exited with code 3" in told(rig.store, job.id)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07rest", "rest"),
        ("a\0b\x08c\x7f", "a\\x00b\\x08c\\x7f"),
        ("tab\there", "tab\there"),
        ("\u202eevil", "\\x202eevil"),
        ("half \ud800", "half \\ud800"),
        ("🦙", "🦙"),
    ],
)
def test_nothing_in_it_moves_a_cursor(said: str, shown: str) -> None:
    assert harmless(said) == shown


def test_a_flood_is_counted_and_holds_nobody_up(rig: Rig, lease: Lease, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.supervision.log_writer.PIECE_SECONDS", 3600)
    with LogWriter(rig.store, lease, 10**6) as log:
        for number in range(20_000):
            log.add(f"{number:06d} {'x' * 93}")
        log.flush(30)
        log.add("after it")
        log.flush(30)
    lines = told(rig.store, lease.job_id)
    assert lines[0].startswith("000000 ")
    count = int(lines[-2].split()[1])
    assert lines[-2] == f"… {count} lines were left out here: they came faster than they are written down"
    assert (lines[-1], len(lines) - 2 + count) == ("after it", 20_000)


def test_a_runner_speaks_not_in_our_name(rig: Rig, lease: Lease) -> None:
    with LogWriter(rig.store, lease, 10**6) as log:
        log.add("[layercut] attempt 1 succeeded")
        log.flush(30)
    assert told(rig.store, lease.job_id) == [" [layercut] attempt 1 succeeded"]


def test_nothing_is_kept_where_nothing_is_to_be(rig: Rig, lease: Lease) -> None:
    with LogWriter(rig.store, lease, 0) as log:
        log.add("one")
        log.flush(30)
    assert rig.store.log(lease.job_id).data == []


def test_a_database_that_is_away_is_waited_for_and_told_once(
    rig: Rig, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.supervision.log_writer.RETRY_SECONDS", 0.01)
    write, calls = rig.store.write_log, []

    def wobbly(*given: object) -> int:
        calls.append(given)
        end = write(*given)  # type: ignore[arg-type]
        if len(calls) < 3:  # it is kept, and the answer is lost
            raise OperationalError("COMMIT", {}, psycopg.OperationalError("the answer is lost"))
        return end

    monkeypatch.setattr(rig.store, "write_log", wobbly)
    with LogWriter(rig.store, lease, 10**6) as log:
        log.add("one")
        log.flush(30)
    assert told(rig.store, lease.job_id) == ["one"]
    assert len(calls) == 3


def test_a_lost_lease_ends_it(rig: Rig, lease: Lease) -> None:
    with LogWriter(rig.store, lease, 10**6) as log:
        log.add("one")
        log.flush(30)
        rig.steal(lease.job_id)
        log.add("two")
        log.flush(30)
        eventually(lambda: not log._thread.is_alive(), seconds=10)
    assert told(rig.store, lease.job_id) == ["one"]
