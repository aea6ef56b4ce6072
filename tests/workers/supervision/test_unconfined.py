"""A worker that cannot lock runners in does no other tenant's job, unless it is told to."""

from __future__ import annotations

from pathlib import Path

import pytest

from api_schemas.jobs import Status
from api_schemas.tenants import Quotas
from store.audit import Actor
from store.tenants import TenantStore
from tests.support.events import queue
from tests.support.supervisor_rig import FAKE_RUNNER, Rig, no_inputs
from workers.settings import WorkerSettings

SENT = {"model": "a/b", "task": "none", "metadata": {"acts": "succeed"}}


@pytest.mark.parametrize(("allowed", "status"), [(False, Status.QUEUED), (True, Status.SUCCEEDED)])
def test_another_tenants_job_is_left_to_others(tmp_path: Path, allowed: bool, status: Status) -> None:
    settings = WorkerSettings(data_dir=tmp_path / "data", allow_unconfined=allowed)
    rig = Rig(settings, FAKE_RUNNER, no_inputs)
    try:
        TenantStore(rig.engine).create("team-a", "Team A", Quotas())
        theirs = queue(rig.store.of(Actor("team-a")), SENT)
        assert rig.supervisor.work() is allowed
        assert rig.store.get(theirs.id).status == status

        ours = rig.run("succeed")
        assert ours.status == Status.SUCCEEDED
    finally:
        rig.close()
