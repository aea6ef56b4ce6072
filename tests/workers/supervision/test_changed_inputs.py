"""Of inputs that changed while the job read them, nothing is published, and trying again is not offered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sources.inputs import Inputs
from sources.staging import Handle, Staged
from store.jobs import Claim
from tests.support.supervisor_rig import FAKE_RUNNER, Rig
from workers.settings import WorkerSettings


def changed(claim: Claim, folder: Path, stopped: Callable[[], bool]) -> Staged:
    path = folder.parent / "weights"
    path.write_text("other than they were")
    return Staged(Inputs(folder=folder), [Handle("model/weights", "model", path.open("rb"), (0, 0, 0))], 0.0, 0, 0)


@pytest.mark.parametrize(("act", "code"), [("succeed", "model_invalid"), ("fail-with-files", "objective_not_met")])
def test_nothing_is_published(worker_settings: WorkerSettings, act: str, code: str) -> None:
    rig = Rig(worker_settings, FAKE_RUNNER, changed)
    try:
        job = rig.run(act)
        assert job.error is not None
        assert (job.error.code, job.error.retryable) == (code, False)
        assert rig.stored(job.id) == []
    finally:
        rig.close()
