"""What is left to do when an attempt has ended: keep its notes, and sweep what losers left."""

from __future__ import annotations

import logging
from pathlib import Path

from store.artifacts import ArtifactStore
from store.jobs import JobStore, Lease
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
    store: JobStore, artifacts: ArtifactStore, lease: Lease, checkpoints: CheckpointSync, root: Path
) -> None:
    """Delete the files of attempts that came to nothing, which this one may be, and what is kept under ``root`` of jobs
    that have ended. The gateway's upkeep sweeps later where this cannot.
    """
    try:
        winner = store.artifact(lease.job_id)
        # Asked of the store, not concluded from LeaseLost: a finish may have been kept though its answer was lost.
        if winner == lease.prefix:
            artifacts.sweep(lease.job_id, keep_prefix=winner)
        else:
            artifacts.delete(lease.prefix)
        if store.get(lease.job_id).status.terminal:
            checkpoints.discard()
        sweep_ended(root, store)
    except Exception:  # sweeping is no part of the job
        log.warning("job %s: cannot sweep", lease.job_id, exc_info=True)
