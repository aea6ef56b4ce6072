"""What a worker does away with that lost its job while it was frozen."""

from __future__ import annotations

from unittest.mock import Mock

from tests.support.store_samples import FAILED
from tests.support.supervisor_rig import Rig
from workers.settings import WorkerSettings
from workers.supervision.tidying import sweep_losers


def test_files_that_were_uploaded_for_a_job_that_was_deleted_meanwhile_go(
    rig: Rig, worker_settings: WorkerSettings
) -> None:
    job_id = rig.submit("succeed")
    claim = rig.store.claim("w")
    assert claim is not None
    rig.store.finish(claim.lease, FAILED)
    rig.store.delete(job_id)
    late = worker_settings.data_dir / "artifacts" / claim.lease.prefix / "model.safetensors"
    late.parent.mkdir(parents=True)
    late.write_bytes(b"late")
    assert rig.stored(job_id)
    checkpoints = Mock()
    sweep_losers(rig.store, rig.artifacts, claim.lease, checkpoints, worker_settings)
    assert rig.stored(job_id) == []
    checkpoints.discard.assert_called_once_with()
