"""What is left to do when an attempt has ended: keep its notes, and sweep what losers left."""

from __future__ import annotations

import logging
from pathlib import Path

from api_schemas.errors import LayercutError
from store.artifacts import ArtifactStore
from store.jobs import JobStore, Lease
from workers.settings import WorkerSettings
from workers.supervision.checkpoint_sync import CheckpointSync, sweep_ended
from workers.supervision.memory_notes import take_notes

log = logging.getLogger("layercut.attempt")


def keep_notes(known: Path, folder: Path, job_id: str) -> None:
    """Keep among what is ``known`` what the runner has learnt of memory, in its ``folder``."""
    try:
        take_notes(known, folder)
    except Exception:  # they will be learnt again
        log.warning("job %s: cannot keep the notes on memory", job_id, exc_info=True)


def sweep_losers(
    store: JobStore, artifacts: ArtifactStore, lease: Lease, checkpoints: CheckpointSync, settings: WorkerSettings
) -> None:
    """Delete the files of attempts that came to nothing, which this one may be, and what is kept here of jobs that have
    ended. The gateway's upkeep sweeps later where this cannot.
    """
    try:
        _delete_losers(store, artifacts, lease)
        _leave_checkpoints(store, lease.job_id, checkpoints, settings)
        sweep_ended(settings.checkpoint_root, store, settings.checkpoint_days)
    except Exception:  # sweeping is no part of the job
        log.warning("job %s: cannot sweep", lease.job_id, exc_info=True)


def _delete_losers(store: JobStore, artifacts: ArtifactStore, lease: Lease) -> None:
    winner = _kept(store, lease.job_id)
    try:
        # Asked of the store, not concluded from LeaseLost: a finish may have been kept though its answer was lost.
        if winner == lease.prefix:
            artifacts.sweep(lease.job_id, lease.attempt, keep_prefix=winner)
        else:
            artifacts.delete(lease.prefix)
    except Exception:
        # The gateway may have looked before these files came.
        store.sweep_again(lease.job_id)
        raise


def _kept(store: JobStore, job_id: str) -> str | None:
    """The prefix of the files that stay; None also where the job was deleted meanwhile, or its files have expired."""
    try:
        return store.artifact(job_id)
    except LayercutError as error:
        if error.code not in ("job_not_found", "expired"):
            raise
        return None


def _leave_checkpoints(store: JobStore, job_id: str, checkpoints: CheckpointSync, settings: WorkerSettings) -> None:
    """Once the job has ended: its last checkpoint is carried to where a retry finds it, or none is wanted."""
    head = store.heads([job_id]).get(job_id)
    if head is not None and not head.status.terminal:
        return
    if store.with_checkpoints([job_id], settings.checkpoint_days):
        checkpoints.drain(settings.kill_grace_seconds)
    else:
        checkpoints.discard()
