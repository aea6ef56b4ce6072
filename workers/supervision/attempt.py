"""One attempt at one job: what its runner tells goes to the store, and every way it can end is in one table."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty
from typing import Any

from api_schemas.errors import LONGEST_MESSAGE, RULE_BREAKERS, LayercutError
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
from sources.staging import Staged
from store.artifacts import ArtifactStore
from store.jobs import Claim, JobStore, LeaseLost
from workers.export.archive import archive_name
from workers.protocol import CacheRequest, JobFile
from workers.runtime.failures import explained
from workers.settings import WorkerSettings
from workers.supervision.cache_server import CacheServer
from workers.supervision.checkpoint_sync import CheckpointSync, sweep_ended
from workers.supervision.event_budget import EventBudget
from workers.supervision.input_staging import InputStaging, StagingFailed
from workers.supervision.input_staging import Stage as StageInputs
from workers.supervision.lease_session import Interrupt, LeaseSession
from workers.supervision.log_writer import LogWriter
from workers.supervision.memory_notes import lend_notes, notes_of, take_notes
from workers.supervision.publishing import most_bytes, publish_export
from workers.supervision.runner_process import Exit, RunnerProcess
from workers.supervision.side_work import Done, SideWork

log = logging.getLogger("layercut.attempt")

Ending = NewEvent | Exit | Interrupt | StagingFailed

#: What it takes to publish the files of a job that ended in time, where less of its own time is left.
PUBLISHING_SECONDS = 1800.0
#: Between two blocks it looks whether anybody waits; what hangs within one is left behind.
PUBLISHER_LEAVES_SECONDS = 5.0

STOPPING = "the worker was told to stop and handed the job back"


class Interrupted(Exception):
    """Nobody waits for what the attempt is doing any more."""

    def __init__(self, why: Interrupt) -> None:
        super().__init__(why)
        self.why = why


class Attempt:
    """``session`` must be open for as long as ``run`` runs; ``runner`` must not have been given a job yet."""

    def __init__(
        self,
        claim: Claim,
        runner: RunnerProcess,
        session: LeaseSession,
        cache_server: CacheServer,
        job_log: LogWriter,
        *,
        stage: StageInputs,
        store: JobStore,
        artifacts: ArtifactStore,
        settings: WorkerSettings,
        started: float,
    ) -> None:
        self._claim, self._lease = claim, claim.lease
        self._runner, self._session, self._cache_server = runner, session, cache_server
        self._log = job_log
        self._store, self._artifacts, self._settings, self._stage = store, artifacts, settings, stage
        self._staged: Staged | None = None
        self._budget = EventBudget()
        self._notes = notes_of(settings.memory_root, self._lease.pool)
        #: Of the files that were published.
        self._bytes = 0
        #: The worker is to stop, and what is under way has some time to end.
        self._stops = False
        self._checkpoints = settings.checkpoint_root / self._lease.job_id
        self._checkpoint_sync = CheckpointSync(
            artifacts, self._lease.job_id, self._checkpoints, runner, max_bytes=settings.runner_file_bytes
        )
        # An attempt's own: one that goes on from a checkpoint has the whole of it again.
        self._seconds = min(claim.request.limits.max_runtime_seconds, settings.max_runtime_seconds)
        self._ends = self._latest = started + self._seconds
        self._endings: dict[object, Callable[[Any], None]] = {
            EventType.SUCCEEDED: self._succeeded,
            EventType.FAILED: self._failed,
            StagingFailed: self._not_staged,
            Exit: self._lost_runner,
            Interrupt.STOPPING: self._handed_back,
            Interrupt.CANCELLED: self._cancelled,
            Interrupt.TIMEOUT: self._timed_out,
            Interrupt.LEASE_LOST: self._lost_lease,
        }

    def run(self) -> None:
        """Returns when the attempt has ended, in the store too. Raises what the store raises when it stays away."""
        with self._checkpoint_sync, self._cache_server:
            self._run()

    def _run(self) -> None:
        lease = self._lease
        self._log.say(f"attempt {lease.attempt} starts")
        if lease.attempt > 1:
            self._checkpoint_sync.fetch()
            self._checkpoint_sync.lend()
        with InputStaging(self._stage, self._claim, self._runner.scratch.inputs, self._runner.inbox):
            self._see_through(self._listen())

    def _see_through(self, ending: Ending) -> None:
        lease = self._lease
        log.info("job %s: attempt %d ends: %s", lease.job_id, lease.attempt, getattr(ending, "type", ending))
        self._let_go(ending)
        self._log.say(f"attempt {lease.attempt}: {_words(ending)}")
        try:
            self._end(ending)
        except LeaseLost:
            log.warning("job %s: the lease of attempt %d is lost: nothing is written", lease.job_id, lease.attempt)
        finally:
            self._tidy()

    def _end(self, ending: Ending) -> None:
        """What the runner made goes on to the cache while the lease still holds, beside what is published."""
        try:
            if isinstance(ending, EventBody):  # told in time: that its files are many makes no job late
                self._latest = max(self._ends, time.monotonic() + PUBLISHING_SECONDS)
            else:
                self._cache_server.close(self._settings.kill_grace_seconds)
            self._endings[_kind(ending)](ending)
        except Interrupted as cut:
            self._cache_server.close(self._settings.kill_grace_seconds)
            self._endings[cut.why](cut.why)

    def _finish_cache(self) -> None:
        """Others wait for it, but the job is over: neither its clock nor a stop of the worker changes how it ended."""
        self._latest = min(self._latest, max(self._ends, time.monotonic() + self._settings.kill_grace_seconds))
        try:
            self._beside(lambda _: self._cache_server.close(None), leave_seconds=0)
        except Interrupted as cut:
            if cut.why not in (Interrupt.TIMEOUT, Interrupt.STOPPING):
                raise

    def _beside(
        self, work: Callable[[Callable[[], bool]], None], leave_seconds: float = PUBLISHER_LEAVES_SECONDS
    ) -> None:
        """Have ``work`` done. Raises what it raises, and ``Interrupted`` once nobody waits for it: where the worker
        is to stop, it may take as long as a runner.
        """
        said: object = None
        with SideWork(work, self._runner.inbox, leave_seconds) as side:
            while not (isinstance(said, Done) and said.work is side):
                said = self._next()
                if said is Interrupt.STOPPING:
                    self._stops = True
                    self._latest = min(self._latest, time.monotonic() + self._settings.kill_grace_seconds)
                elif isinstance(said, Interrupt):
                    raise Interrupted(Interrupt.STOPPING if self._stops and said is Interrupt.TIMEOUT else said)
        if said.error is not None:
            raise said.error

    def _listen(self) -> Ending:
        while True:
            item = self._next()
            if isinstance(item, Staged):
                self._give(item)
            elif isinstance(item, CacheRequest):
                if (ending := self._changed() or self._cache_server.handle(item)) is not None:
                    return ending
            elif not isinstance(item, EventBody) or item.type.terminal:
                return item
            elif (ending := self._record(item)) is not None:
                return ending

    def _give(self, staged: Staged) -> None:
        """The inputs are there: the runner can begin."""
        lease, self._staged = self._lease, staged
        if staged.copied or staged.handed:
            self._session.write(new_event(EventType.LOG, staged.said(), LogData()))
        file = JobFile(
            id=lease.job_id,
            request=self._claim.request,
            resolved=self._claim.resolved,
            attempt=lease.attempt,
            checkpoints=self._runner.scratch.checkpoints,
        )
        lend_notes(self._notes, self._runner.scratch.notes)
        try:
            file.write(self._runner.job_file)
            self._runner.give(staged, self._seconds)
        except OSError as error:
            log.warning("job %s: the runner did not take it: %s", lease.job_id, error)

    def _changed(self) -> StagingFailed | None:
        """Of inputs that were changed since, nothing goes to the cache: others would take it for made of what they had
        been.
        """
        try:
            if self._staged is not None:
                self._staged.check_unchanged()
        except LayercutError as error:
            return StagingFailed(error)
        return None

    def _record(self, event: NewEvent) -> NewEvent | None:
        """Have it written down; the failure of the job, where the runner has told more than it may."""
        if (failed := self._budget.spend(event)) is not None:
            log.warning("job %s: attempt %d told too much", self._lease.job_id, self._lease.attempt)
            return failed
        self._session.write(event)
        if isinstance(event.data, LogData) and event.data.checkpoint:
            self._checkpoint_sync.call()
        return None

    def _next(self) -> Ending | CacheRequest | Staged:
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
            return
        self._runner.inbox.close()
        if isinstance(ending, Interrupt | StagingFailed) or _breaks_rules(ending):
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
        except Interrupted:
            raise
        except Exception as error:
            log.exception("job %s: cannot publish", self._lease.job_id)
            self._log.say(f"cannot publish: {explained(error).message}")
            self._finish_told(failure(explained(error), stage))
            return
        self._finish_told(told, self._lease.prefix)

    def _failed(self, told: NewEvent) -> None:
        """A failure may leave files all the same: an objective that was not met does."""
        assert isinstance(told.data, FailedData)
        published = told.data.artifact is not None and self._published(told.data.artifact)
        if told.data.error.code == "internal":
            self._tell_last_words("the runner's last lines")
            # The job may go on elsewhere.
            self._checkpoint_sync.drain(self._settings.kill_grace_seconds)
        self._finish_told(told, self._lease.prefix if published else None)

    def _not_staged(self, failed: StagingFailed) -> None:
        self._finish(failure(failed.error, Stage.RESOLVING))

    def _lost_runner(self, exit_: Exit) -> None:
        self._tell_last_words(str(exit_))
        self._checkpoint_sync.drain(self._settings.kill_grace_seconds)
        self._release(str(exit_))

    def _handed_back(self, _: Interrupt) -> None:
        """The next host may ask for the checkpoint as soon as the job is queued: it is carried first, if in time."""
        with suppress(Empty):  # it is gone, and all that it said is there
            while isinstance(said := self._runner.inbox.get(timeout=0), EventBody) and not said.type.terminal:
                self._record(said)
        self._checkpoint_sync.drain(self._settings.kill_grace_seconds)
        self._flush()
        self._session.retrying(lambda: self._store.hand_back(self._lease, STOPPING))

    def _cancelled(self, _: Interrupt) -> None:
        self._finish(new_event(EventType.CANCELLED, "cancelled"))

    def _timed_out(self, _: Interrupt) -> None:
        message = f"the attempt ran longer than limits.max_runtime_seconds = {self._seconds}"
        if self._latest > self._ends:
            message += f", as publishing its files took more than {PUBLISHING_SECONDS:.0f} seconds"
        self._finish(failure(LayercutError("timeout", message, param="/limits/max_runtime_seconds")))

    def _lost_lease(self, _: Interrupt) -> None:
        raise LeaseLost(self._lease)

    def _published(self, files: ArtifactFiles) -> bool:
        try:
            self._publish(files)
        except Interrupted as cut:
            if cut.why is not Interrupt.TIMEOUT:
                raise
            log.warning("job %s: publishing the files of a failed job takes too long", self._lease.job_id)
            return False
        except Exception:  # the failure that the runner told is the one to report
            log.exception("job %s: cannot publish the files of a failed job", self._lease.job_id)
            return False
        return True

    def _publish(self, files: ArtifactFiles | None) -> None:
        if files is None:
            raise LayercutError("export_failed", "the runner says that it succeeded, and names no files")
        # Also of a job that missed its objective: its files must be made of what it was given.
        if self._staged is not None:
            self._staged.check_unchanged()
        if files.folder in ("", ".", "..") or "/" in files.folder:
            raise LayercutError("export_failed", f"the runner named {files.folder!r}, which lies outside of its folder")
        self._beside(lambda stopped: self._upload(files.folder, stopped))

    def _upload(self, folder: str, stopped: Callable[[], bool]) -> None:
        scratch, lease, staged = self._runner.scratch.folder, self._lease, self._staged
        inputs = staged.copied + staged.handed if staged else 0
        manifest = publish_export(
            scratch, (self._runner.out.name, folder), self._artifacts, lease.prefix,
            archive_name(lease.job_id, self._claim.request.suffix),
            limit=most_bytes(inputs, self._settings.artifact_bytes), stopped=stopped,
        )  # fmt: skip
        self._bytes = sum(file.bytes for file in manifest.files)

    def _finish_told(self, event: NewEvent, artifact: str | None = None) -> None:
        self._finish_cache()
        self._finish(event, artifact)

    def _finish(self, event: NewEvent, artifact: str | None = None) -> None:
        self._flush()
        try:
            size = self._bytes if artifact else None
            self._session.retrying(lambda: self._store.finish(self._lease, event, artifact, size))
        except (ValueError, KeyError) as error:
            log.exception("job %s: its ending cannot be kept", self._lease.job_id)
            lost = failure(LayercutError("internal", f"the runner's {event.type} is not understood: {error}"))
            self._session.retrying(lambda: self._store.finish(self._lease, lost))

    def _release(self, reason: str) -> None:
        self._flush()
        self._session.retrying(lambda: self._store.release(self._lease, reason))

    def _flush(self) -> None:
        """After the last write about an attempt nothing more of it can be told."""
        self._session.flush()
        self._log.flush()

    def _tell_last_words(self, what: str) -> None:
        words = self._runner.last_words
        if words:
            message = f"{what}:\n{words[-LONGEST_MESSAGE:]}"
            self._session.write(new_event(EventType.LOG, message, LogData(source="stderr"), "error"))

    def _tidy(self) -> None:
        """Keep its notes, and sweep losers, which this attempt may be one of. The gateway's upkeep sweeps later where
        this cannot.
        """
        try:
            take_notes(self._notes, self._runner.scratch.notes)
        except Exception:  # they will be learnt again
            log.warning("job %s: cannot keep the notes on memory", self._lease.job_id, exc_info=True)
        try:
            winner = self._store.artifact(self._lease.job_id)
            # Asked of the store, not concluded from LeaseLost: a finish may have been kept though its answer was lost.
            if winner == self._lease.prefix:
                self._artifacts.sweep(self._lease.job_id, self._lease.attempt, keep_prefix=winner)
            else:
                self._artifacts.delete(self._lease.prefix)
            self._leave_checkpoints()
            sweep_ended(self._settings.checkpoint_root, self._store, self._settings.checkpoint_days)
        except Exception:  # sweeping is no part of the job
            log.warning("job %s: cannot sweep", self._lease.job_id, exc_info=True)

    def _leave_checkpoints(self) -> None:
        """Once the job has ended: its last checkpoint is carried to where a retry finds it, or none is wanted."""
        job_id = self._lease.job_id
        if not self._store.get(job_id).status.terminal:
            return
        if self._store.with_checkpoints([job_id], self._settings.checkpoint_days):
            self._checkpoint_sync.drain(self._settings.kill_grace_seconds)
        else:
            self._checkpoint_sync.discard()


def _breaks_rules(ending: Ending) -> bool:
    failed = ending.data if isinstance(ending, EventBody) else None
    return isinstance(failed, FailedData) and failed.error.code in RULE_BREAKERS


def _words(ending: Ending) -> str:
    """How it ended, for people."""
    if isinstance(ending, EventBody):
        return f"the runner told {ending.type}: {ending.message}"
    return ending.error.message if isinstance(ending, StagingFailed) else str(ending)


def _kind(ending: Ending) -> object:
    if isinstance(ending, EventBody):
        return ending.type
    return ending if isinstance(ending, Interrupt) else type(ending)
