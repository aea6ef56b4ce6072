"""One attempt at one job: what its runner tells goes to the store, and every way it can end is in one table."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty
from typing import Any

from api_schemas.errors import LayercutError
from api_schemas.events import (
    ArtifactFiles,
    EventBody,
    EventType,
    FailedData,
    LogData,
    NewEvent,
    StageData,
    SucceededData,
    failure,
    new_event,
)
from api_schemas.jobs import Stage
from store.artifacts import ArtifactStore
from store.jobs import Claim, JobStore, LeaseLost
from workers.protocol import CacheRequest, JobFile
from workers.runtime.failures import explained
from workers.settings import WorkerSettings
from workers.supervision.cache_server import CacheServer
from workers.supervision.checkpoint_sync import CheckpointSync, sweep_ended
from workers.supervision.lease_session import Interrupt, LeaseSession
from workers.supervision.runner_process import Exit, RunnerProcess

log = logging.getLogger("layercut.attempt")

Ending = NewEvent | Exit | Interrupt

STOPPING = "the worker was told to stop and handed the job back"


class Attempt:
    """``session`` must be open for as long as ``run`` runs; ``runner`` must not have been given a job yet."""

    def __init__(
        self,
        claim: Claim,
        runner: RunnerProcess,
        session: LeaseSession,
        cache_server: CacheServer,
        *,
        store: JobStore,
        artifacts: ArtifactStore,
        settings: WorkerSettings,
        started: float,
    ) -> None:
        self._claim, self._lease = claim, claim.lease
        self._runner, self._session, self._cache_server = runner, session, cache_server
        self._store, self._artifacts, self._settings = store, artifacts, settings
        #: Of the files that were published.
        self._bytes = 0
        self._checkpoints = settings.checkpoint_root / self._lease.job_id
        self._checkpoint_sync = CheckpointSync(artifacts, self._lease.job_id, self._checkpoints)
        # An attempt's own: one that goes on from a checkpoint has the whole of it again.
        self._latest = started + claim.request.limits.max_runtime_seconds
        self._endings: dict[object, Callable[[Any], None]] = {
            EventType.SUCCEEDED: self._succeeded,
            EventType.FAILED: self._failed,
            Exit: self._lost_runner,
            Interrupt.STOPPING: self._handed_back,
            Interrupt.CANCELLED: self._cancelled,
            Interrupt.TIMEOUT: self._timed_out,
            Interrupt.LEASE_LOST: self._lost_lease,
        }

    def run(self) -> None:
        """Returns when the attempt has ended, in the store too. Raises what the store raises when it stays away."""
        with self._checkpoint_sync:
            self._run()

    def _run(self) -> None:
        lease = self._lease
        file = JobFile(
            id=lease.job_id,
            request=self._claim.request,
            resolved=self._claim.resolved,
            attempt=lease.attempt,
            checkpoints=self._checkpoints,
        )
        if lease.attempt > 1:
            self._checkpoint_sync.fetch()
        try:
            file.write(self._runner.job_file)
            self._runner.give()
        except OSError as error:
            log.warning("job %s: the runner did not take it: %s", lease.job_id, error)
        ending = self._listen()
        log.info("job %s: attempt %d ends: %s", lease.job_id, lease.attempt, getattr(ending, "type", ending))
        self._let_go(ending)
        # What the runner made goes on to the cache while the lease still holds; nobody waits long for a stop.
        self._cache_server.close(None if isinstance(ending, EventBody) else self._settings.kill_grace_seconds)
        try:
            self._endings[_kind(ending)](ending)
        except LeaseLost:
            log.warning("job %s: the lease of attempt %d is lost: nothing is written", lease.job_id, lease.attempt)
        finally:
            self._tidy()

    def _listen(self) -> Ending:
        while True:
            item = self._next()
            if isinstance(item, CacheRequest):
                self._cache_server.handle(item)
            elif not isinstance(item, EventBody) or item.type.terminal:
                return item
            else:
                self._record(item)

    def _record(self, event: NewEvent) -> None:
        self._session.write(event)
        if isinstance(event.data, LogData) and event.data.checkpoint:
            self._checkpoint_sync.call()

    def _next(self) -> Ending | CacheRequest:
        """What comes next, or the clock that ran out first. The lease's own end moves while it is renewed."""
        while (left := min(self._latest, self._session.deadline) - time.monotonic()) > 0:
            try:
                return self._runner.inbox.get(timeout=left)  # type: ignore[return-value]
            except Empty:
                continue
        return Interrupt.TIMEOUT if self._latest <= self._session.deadline else Interrupt.LEASE_LOST

    def _let_go(self, ending: Ending) -> None:
        """Nothing of the runner is left when this returns. Only a job that goes on elsewhere is worth a checkpoint."""
        if ending is Interrupt.STOPPING:
            self._runner.stop(self._settings.kill_grace_seconds)
        elif isinstance(ending, Interrupt):
            self._runner.stop(0)
        else:
            self._runner.wait(self._settings.kill_grace_seconds)

    def _succeeded(self, told: NewEvent) -> None:
        assert isinstance(told.data, SucceededData)
        stage = Stage.PUBLISHING
        self._session.write(new_event(EventType.STAGE, stage.value, StageData(stage=stage)))
        self._session.flush()
        try:
            self._publish(told.data.artifact)
        except Exception as error:
            log.exception("job %s: cannot publish", self._lease.job_id)
            self._finish(failure(explained(error), stage))
            return
        self._finish(told, self._lease.prefix)

    def _failed(self, told: NewEvent) -> None:
        """A failure may leave files all the same: an objective that was not met does."""
        assert isinstance(told.data, FailedData)
        published = told.data.artifact is not None and self._published(told.data.artifact)
        if told.data.error.code == "internal":
            self._tell_last_words("the runner's last lines")
            # The job may go on elsewhere.
            self._checkpoint_sync.drain(self._settings.kill_grace_seconds)
        self._finish(told, self._lease.prefix if published else None)

    def _lost_runner(self, exit_: Exit) -> None:
        self._tell_last_words(str(exit_))
        self._checkpoint_sync.drain(self._settings.kill_grace_seconds)
        self._release(str(exit_))

    def _handed_back(self, _: Interrupt) -> None:
        """The next host may ask for the checkpoint as soon as the job is queued: it is carried first, if in time."""
        while isinstance(said := self._runner.inbox.get(), EventBody) and not said.type.terminal:
            self._record(said)
        self._checkpoint_sync.drain(self._settings.kill_grace_seconds)
        self._session.flush()
        self._session.retrying(lambda: self._store.hand_back(self._lease, STOPPING))

    def _cancelled(self, _: Interrupt) -> None:
        self._finish(new_event(EventType.CANCELLED, "cancelled"))

    def _timed_out(self, _: Interrupt) -> None:
        seconds = self._claim.request.limits.max_runtime_seconds
        message = f"the attempt ran longer than limits.max_runtime_seconds = {seconds}"
        self._finish(failure(LayercutError("timeout", message, param="/limits/max_runtime_seconds")))

    def _lost_lease(self, _: Interrupt) -> None:
        raise LeaseLost(self._lease)

    def _published(self, files: ArtifactFiles) -> bool:
        try:
            self._publish(files)
        except Exception:  # the failure that the runner told is the one to report
            log.exception("job %s: cannot publish the files of a failed job", self._lease.job_id)
            return False
        return True

    def _publish(self, files: ArtifactFiles | None) -> None:
        if files is None:
            raise LayercutError("export_failed", "the runner says that it succeeded, and names no files")
        folder = _inside(self._runner.out, files.folder)
        archive = _inside(self._runner.out, files.archive) if files.archive else None
        self._bytes = sum(file.bytes for file in self._artifacts.publish(self._lease.prefix, folder, archive).files)

    def _finish(self, event: NewEvent, artifact: str | None = None) -> None:
        self._session.flush()
        try:
            size = self._bytes if artifact else None
            self._session.retrying(lambda: self._store.finish(self._lease, event, artifact, size))
        except (ValueError, KeyError) as error:
            log.exception("job %s: its ending cannot be kept", self._lease.job_id)
            lost = failure(LayercutError("internal", f"the runner's {event.type} is not understood: {error}"))
            self._session.retrying(lambda: self._store.finish(self._lease, lost))

    def _release(self, reason: str) -> None:
        self._session.flush()
        self._session.retrying(lambda: self._store.release(self._lease, reason))

    def _tell_last_words(self, what: str) -> None:
        words = self._runner.last_words
        if words:
            message = f"{what}:\n{words}"
            self._session.write(new_event(EventType.LOG, message, LogData(source="stderr"), "error"))

    def _tidy(self) -> None:
        """Sweep losers, which this attempt may be one of. The gateway's upkeep does it later where this cannot."""
        try:
            winner = self._store.artifact(self._lease.job_id)
            # Asked of the store, not concluded from LeaseLost: a finish may have been kept though its answer was lost.
            if winner == self._lease.prefix:
                self._artifacts.sweep(self._lease.job_id, keep_prefix=winner)
            else:
                self._artifacts.delete(self._lease.prefix)
            if self._store.get(self._lease.job_id).status.terminal:
                self._checkpoint_sync.discard()
            sweep_ended(self._settings.checkpoint_root, self._store)
        except Exception:  # sweeping is no part of the job
            log.warning("job %s: cannot sweep", self._lease.job_id, exc_info=True)


def _kind(ending: Ending) -> object:
    if isinstance(ending, EventBody):
        return ending.type
    return Exit if isinstance(ending, Exit) else ending


def _inside(out: Path, name: str) -> Path:
    """What a runner names lies in its own folder, or it is refused."""
    path = (out / name).resolve()
    if not path.is_relative_to(out.resolve()):
        raise LayercutError("export_failed", f"the runner named {name!r}, which lies outside of its folder")
    return path
