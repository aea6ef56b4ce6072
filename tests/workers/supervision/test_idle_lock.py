"""A fleet leaves when none of its workers has a job, and none takes one while it leaves."""

from __future__ import annotations

import os

from workers.supervision.idle_lock import FleetLock, IdleLock


def test_all_are_idle_once_each_has_said_so_and_then_none_takes_a_job() -> None:
    fleet = FleetLock()
    descriptors = [fleet.lend(), fleet.lend()]
    first, second = map(IdleLock, descriptors)
    assert not fleet.all_idle(), "who has just been started may take a job"
    first.release()
    assert not fleet.all_idle()
    assert first.hold(), "while another has a job, the idle one takes the next"
    second.release()
    assert not fleet.all_idle()
    first.release()
    assert fleet.all_idle()
    assert not first.hold()
    descriptors.append(fleet.lend())
    assert not IdleLock(descriptors[-1]).hold(), "one that died and is started again at that moment"
    for descriptor in descriptors:
        os.close(descriptor)
    fleet.close()


def test_a_worker_in_no_fleet_takes_jobs_and_leaves_by_itself() -> None:
    alone = IdleLock(None)
    assert alone.hold()
    assert not alone.shared
