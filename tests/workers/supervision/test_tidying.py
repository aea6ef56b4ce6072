"""What a worker does away with that lost its job while it was frozen."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from store.retention import RetentionStore
from store.sweeping import NotDeletedError
from tests.support.store_samples import FAILED, SUCCEEDED
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


def test_files_that_came_after_the_gateway_had_looked_and_cannot_be_deleted_are_due_again(
    rig: Rig, worker_settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = rig.submit("succeed")
    frozen, retention = rig.store.claim("frozen"), RetentionStore(rig.engine)
    assert frozen is not None
    rig.store.release(frozen.lease, "not heard of")
    winner = rig.store.claim("w")
    assert winner is not None
    rig.store.finish(winner.lease, SUCCEEDED, winner.lease.prefix)
    (left,) = retention.unswept(0, 7)
    retention.swept(left)
    assert retention.unswept(0, 7) == []

    def stuck(*_: object) -> None:
        raise NotDeletedError(0, {}, 1)

    monkeypatch.setattr(rig.artifacts, "delete", stuck)
    sweep_losers(rig.store, rig.artifacts, frozen.lease, Mock(), worker_settings)
    assert [left.job_id for left in retention.unswept(0, 7)] == [job_id]
    assert rig.store.artifact(job_id) == winner.lease.prefix


def test_files_of_a_job_that_goes_on_are_due_at_its_end(rig: Rig) -> None:
    job_id, retention = rig.submit("succeed"), RetentionStore(rig.engine)
    claim = rig.store.claim("w")
    assert claim is not None
    rig.store.sweep_again(job_id)
    assert retention.unswept(0, 7) == []
    rig.store.finish(claim.lease, FAILED)
    assert [left.job_id for left in retention.unswept(0, 7)] == [job_id]
