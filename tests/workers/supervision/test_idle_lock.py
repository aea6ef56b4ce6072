"""A fleet leaves when none of its workers has a job, and none takes one while it leaves."""

from __future__ import annotations

import subprocess
import sys

from workers.supervision.idle_lock import FleetLock, IdleLock


def test_all_are_idle_once_each_has_said_so_and_then_none_takes_a_job() -> None:
    fleet = FleetLock()
    first, second = IdleLock(fleet.lend()), IdleLock(fleet.lend())
    assert not fleet.all_idle(), "who has just been started may take a job"
    first.release()
    assert not fleet.all_idle()
    assert first.hold(), "while another has a job, the idle one takes the next"
    second.release()
    assert not fleet.all_idle()
    first.release()
    assert fleet.all_idle()
    assert not first.hold()
    fleet.close()


def test_one_that_dies_with_a_job_is_waited_for() -> None:
    fleet = FleetLock()
    descriptor = fleet.lend()
    for _ in range(2):  # it dies, is started again, and dies again
        worker = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], pass_fds=[descriptor])
        worker.kill()
        worker.wait()
        assert not fleet.all_idle()
    IdleLock(descriptor).release()
    assert fleet.all_idle()
    fleet.close()


def test_a_worker_in_no_fleet_takes_jobs_and_leaves_by_itself() -> None:
    alone = IdleLock(None)
    assert alone.hold()
    assert not alone.shared
