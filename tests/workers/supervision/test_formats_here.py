"""A worker without the packages of a format leaves a job that asks for it as it is."""

from __future__ import annotations

import pytest

from api_schemas.jobs import Status
from tests.support.events import queue
from tests.support.supervisor_rig import FAKE_RUNNER, Rig, no_inputs
from workers.settings import WorkerSettings
from workers.supervision import about


def test_a_job_is_left_to_a_worker_that_writes_its_formats(
    worker_settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without:
        without.setattr(about, "find_spec", lambda _: None)
        rig = Rig(worker_settings, FAKE_RUNNER, no_inputs)
    try:
        sent = {"model": "a/b", "task": "none", "export": {"formats": ["onnx"]}, "metadata": {"acts": "succeed"}}
        job_id = queue(rig.store, sent).id
        assert rig.supervisor.work() is False
        job = rig.store.get(job_id)
        assert (job.status, job.attempt) == (Status.QUEUED, 0)
        assert rig.run("succeed").status == Status.SUCCEEDED
    finally:
        rig.close()
