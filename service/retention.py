"""What the gateway deletes because its time is over: files of jobs that have ended, their rows, logs, keys, deliveries.

Each step does a bounded piece of work a round, and goes on where the one before stopped, or was killed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import structlog

from service.state import GatewayState
from store.retention import DeletedJob, Leftover
from store.sweeping import NotDeletedError

log = structlog.get_logger("layercut.retention")

#: Returns for how many seconds it need not be called again by this process; None: it is, in the next round.
Step = Callable[[GatewayState], float | None]


def set_expiry(state: GatewayState) -> float | None:
    """Files of before there was a time for them. Later ones have theirs from the end of the job on."""
    days = state.settings.artifact_days
    return None if days and state.retention.set_expiry(days) else math.inf


def adopt(state: GatewayState) -> None:
    """Jobs that an older layercut ended or queued, while it still ran beside."""
    if adopted := state.retention.adopt(state.settings.artifact_days):
        log.info("adopted", jobs=adopted)


def expire_files(state: GatewayState) -> None:
    """Files that were kept for their time are shown no more; ``sweep`` deletes them."""
    if expired := state.retention.expire():
        log.info("expired", jobs=expired)


def sweep(state: GatewayState) -> None:
    """Delete files of attempts that lost, checkpoints that nobody wants, and artifacts whose time is over."""
    settings = state.settings
    for job in state.retention.unswept(settings.sweep_after_seconds, settings.checkpoint_days):
        try:
            files = sweep_job(state, job)
        except Exception as error:  # noqa: BLE001 - whatever the store raises: the other jobs' files go all the same
            log.warning("not_swept", job_id=job.job_id, error=f"{type(error).__name__}: {error}"[:500])
            state.retention.put_off(job)
            continue
        state.retention.swept(job)
        if files:
            log.info("swept", job_id=job.job_id, files=files)


def sweep_deleted(state: GatewayState) -> None:
    """Delete all files of jobs that were deleted."""
    seconds = state.settings.sweep_after_seconds
    for job in state.retention.deleted():
        try:
            _delete_files(state, job)
        except Exception as error:  # noqa: BLE001 - as above
            log.warning("not_swept", job_id=job.job_id, error=f"{type(error).__name__}: {error}"[:500])
            state.retention.put_off_deleted(job)
        else:
            state.retention.deleted_swept(job, seconds)


def expire_uploads(state: GatewayState) -> None:
    """Uploads that were kept for their time, or that nobody goes on with; ``sweep_uploads`` deletes their files."""
    if expired := state.upload_retention.expire():
        log.info("expired_uploads", uploads=expired)


def sweep_uploads(state: GatewayState) -> None:
    """Delete the files of uploads that are gone or came to nothing, and parts of those that are put together."""
    for upload in state.upload_retention.unswept():
        try:
            state.artifacts.delete(upload.prefix)
        except Exception as error:  # noqa: BLE001 - as above
            log.warning("not_swept", upload=upload.upload_id, error=f"{type(error).__name__}: {error}"[:500])
            state.upload_retention.put_off(upload)
        else:
            state.upload_retention.swept(upload, state.settings.sweep_after_seconds)


def sweep_unfinished(state: GatewayState) -> float:
    """Delete what uploads that were killed left half written. It walks the whole store, and so it does seldom."""
    seconds = state.settings.sweep_after_seconds
    try:
        if files := state.artifacts.sweep_unfinished(seconds):
            log.info("swept_unfinished", files=files)
    except NotDeletedError as error:
        log.warning("not_swept_unfinished", error=str(error)[:500])
    return seconds


def remove_jobs(state: GatewayState) -> None:
    """Delete the rows of jobs that ended long ago and have no files any more, and have what is left swept."""
    if state.settings.event_days and (removed := state.retention.remove_ended(state.settings.event_days)):
        log.info("removed_for_age", jobs=removed)


def remove_logs(state: GatewayState) -> None:
    """Delete the logs of jobs that ended long ago."""
    if state.settings.log_days and (removed := state.retention.remove_logs(state.settings.log_days)):
        log.info("logs_removed_for_age", jobs=removed)


def forget(state: GatewayState) -> None:
    """Keys of requests, deliveries that are over, and that jobs were deleted."""
    state.idempotency.release_late()
    state.retention.forget_keys(state.settings.idempotency_hours)
    state.retention.remove_deliveries(state.settings.webhook_days)
    state.retention.forget_deleted()
    state.upload_retention.forget()


#: What asks the database alone.
ROW_STEPS: tuple[Step, ...] = (set_expiry, adopt, expire_files, expire_uploads, remove_jobs, remove_logs, forget)
#: What waits for the artifact store.
FILE_STEPS: tuple[Step, ...] = (sweep, sweep_deleted, sweep_uploads, sweep_unfinished)


def sweep_job(state: GatewayState, job: Leftover) -> int:
    """Delete what is due of one job; how many files of attempts that was."""
    files = state.artifacts.sweep(job.job_id, job.attempt, job.keep)
    if job.checkpoints:
        # Asked again: meanwhile the job may have been asked for again, and goes on from them now.
        days, ids = state.settings.checkpoint_days, [job.job_id]
        state.artifacts.delete(
            f"jobs/{job.job_id}/checkpoint", wanted=lambda: bool(state.store.with_checkpoints(ids, days))
        )
    return files


def _delete_files(state: GatewayState, job: DeletedJob) -> None:
    state.artifacts.delete(f"jobs/{job.job_id}")
