"""One attempt at one job: what its runner tells goes to the store, and every way it can end is in one table."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from queue import Empty
from typing import Any

from api_schemas.errors import LONGEST_MESSAGE, RULE_BREAKERS, JobError, LayercutError
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
from store.leases import passes
from store.passing import passing
from workers.protocol import CacheRequest, JobFile, WarningsRequest
from workers.settings import WorkerSettings
from workers.supervision.cache_server import CacheServer
from workers.supervision.checkpoint_sync import CheckpointSync
from workers.supervision.endings import (
    SCRATCH_GONE,
    STOPPING,
    Ending,
    Interrupted,
    Lost,
    at_once,
    kind_of,
    lost_by,
    words_of,
)
from workers.supervision.event_budget import EventBudget
from workers.supervision.hub_push import HubPush
from workers.supervision.input_staging import InputStaging, StagingFailed
from workers.supervision.input_staging import Stage as StageInputs
from workers.supervision.lease_session import Interrupt, LeaseSession
from workers.supervision.log_writer import LogWriter
from workers.supervision.memory_notes import lend_notes, notes_of
from workers.supervision.publication import PUBLISHING_SECONDS, Learn, Publication, unlearnt
from workers.supervision.report_warnings import ReportWarnings
from workers.supervision.retries import NOT_SOON, Wait, told
from workers.supervision.runner_process import Exit, RunnerProcess
from workers.supervision.tidying import keep_notes, sweep_losers
from workers.supervision.waiting import Waiting

log = logging.getLogger("layercut.attempt")


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
        learn: Learn = unlearnt,
        warnings: Callable[[], list[str]] = list,
        at_verifying: Callable[[], object] = lambda: None,
    ) -> None:
        self._claim, self._lease, self._at_verifying = claim, claim.lease, at_verifying
        self._runner, self._session, self._cache_server = runner, session, cache_server
        self._log, self._report_warnings = job_log, ReportWarnings(runner, warnings)
        self._store, self._artifacts, self._settings, self._stage = store, artifacts, settings, stage
        self._staged: Staged | None = None
        self._budget = EventBudget()
        self._notes = notes_of(settings.memory_root, self._lease.pool)
        self._checkpoints = settings.checkpoint_root / self._lease.job_id
        self._checkpoint_sync = CheckpointSync(
            artifacts, self._lease.job_id, self._checkpoints, runner, max_bytes=settings.runner_file_bytes
        )
        # An attempt's own: one that goes on from a checkpoint has the whole of it again.
        self._seconds = min(claim.request.limits.max_runtime_seconds, settings.max_runtime_seconds)
        self._waiting = Waiting(runner, session, cache_server, settings, ends=started + self._seconds)
        self._publication = Publication(claim, runner, artifacts, settings, tell=self._tell_away, learn=learn)
        self._push = HubPush(claim, settings, self._waiting, say=self._say, away=self._tell_away)
        self._endings: dict[object, Callable[[Any], None]] = {
            EventType.SUCCEEDED: self._succeeded,
            EventType.FAILED: self._failed,
            StagingFailed: self._not_staged,
            Exit: self._lost_runner,
            Lost: self._lost,
            Interrupt.STOPPING: self._handed_back,
            Interrupt.CANCELLED: self._cancelled,
            Interrupt.TIMEOUT: self._timed_out,
            Interrupt.LEASE_LOST: self._lost_lease,
        }

    @property
    def spared(self) -> bool:
        """Whether the runner never got the job, and has done nothing."""
        return not self._runner.given

    def run(self) -> None:
        """Returns when the attempt has ended, in the store too. Raises what the store raises when it stays away."""
        staging = InputStaging(
            self._stage, self._claim, self._runner.scratch, self._runner.inbox, first=self._fetch, tell=self._tell_away
        )
        with self._checkpoint_sync, self._cache_server, staging:
            self._see_through(self._listen())

    def _fetch(self, wait: Wait) -> None:
        self._log.say(f"attempt {self._lease.attempt} starts")
        if self._lease.attempt > 1:
            self._checkpoint_sync.fetch(wait, self._tell_away)

    def _see_through(self, ending: Ending) -> None:
        lease = self._lease
        self._let_go(ending)
        self._log.say(f"attempt {lease.attempt}: {words_of(ending)}")
        log.info("job %s: attempt %d ends: %s", lease.job_id, lease.attempt, getattr(ending, "type", ending))
        try:
            self._end(ending)
        except LeaseLost:
            log.warning("job %s: the lease of attempt %d is lost: nothing is written", lease.job_id, lease.attempt)
        finally:
            keep_notes(self._notes, self._runner.scratch.notes, lease.job_id)
        # Not after any other error: an end that was not answered may be kept yet, and its files are then the job's.
        sweep_losers(self._store, self._artifacts, lease, self._checkpoint_sync, self._settings)

    def _end(self, ending: Ending) -> None:
        """What the runner made goes on to the cache while the lease still holds, beside what is published."""
        try:
            if isinstance(ending, EventBody):  # told in time: that its files are many makes no job late
                self._waiting.extend(PUBLISHING_SECONDS)
            else:
                self._cache_server.close(self._settings.kill_grace_seconds)
            self._endings[kind_of(ending)](ending)
        except Interrupted as cut:
            self._cache_server.close(self._settings.kill_grace_seconds)
            self._endings[cut.why](cut.why)

    def _finish_cache(self) -> None:
        """Others wait for it, but the job is over: neither its clock nor a stop of the worker changes how it ended."""
        self._waiting.shorten(self._settings.kill_grace_seconds)
        try:
            self._waiting.beside(lambda _: self._cache_server.close(None), leave_seconds=0)
        except Interrupted as cut:
            if cut.why not in (Interrupt.TIMEOUT, Interrupt.STOPPING):
                raise

    def _listen(self) -> Ending:
        while True:
            item = self._waiting.next(watched=True)
            if isinstance(item, Staged):
                if (lost := self._give(item)) is not None:
                    return lost
            elif isinstance(item, CacheRequest | WarningsRequest):
                if (ending := self._answer(item)) is not None:
                    return ending
            elif not isinstance(item, EventBody) or item.type.terminal:
                return item
            elif (ending := self._record(item)) is not None:
                return ending

    def _answer(self, request: CacheRequest | WarningsRequest) -> Ending | None:
        """How the attempt ends, where it should not have been asked."""
        if isinstance(request, WarningsRequest):
            return self._report_warnings.answer()
        return self._changed() or self._cache_server.handle(request)

    def _give(self, staged: Staged) -> Lost | None:
        """The inputs are there: the runner can begin. How the attempt ends, where it cannot be given the job."""
        lease, self._staged = self._lease, staged
        if staged.copied or staged.handed:
            self._say(staged.said())
        file = JobFile(
            id=lease.job_id,
            request=self._claim.request,
            resolved=self._claim.resolved.without_places,
            attempt=lease.attempt,
            checkpoints=self._runner.scratch.checkpoints,
        )
        self._runner.given = True
        try:
            if lease.attempt > 1:
                self._checkpoint_sync.lend()
            lend_notes(self._notes, self._runner.scratch.notes)
            file.write(self._runner.job_file)
            self._runner.give(staged, self._seconds)
        except BrokenPipeError as error:  # it is gone, and its exit will be heard of
            log.warning("job %s: the runner did not take it: %s", lease.job_id, error)
        except OSError as error:
            log.exception("job %s: the runner cannot be given it", lease.job_id)
            return Lost.by(told(error, "handing the job to its runner"))
        self._waiting.watchdog.begin()
        return None

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
        self._waiting.watchdog.heard(event)
        self._session.write(event)
        if isinstance(event.data, LogData) and event.data.checkpoint:
            self._checkpoint_sync.call()
        if isinstance(event.data, StageData) and event.data.stage == Stage.VERIFYING:
            self._at_verifying()
        return None

    def _let_go(self, ending: Ending) -> None:
        """Nothing of the runner is left when this returns. Only a job that goes on elsewhere is worth a checkpoint."""
        if ending is Interrupt.STOPPING:
            self._runner.stop(self._settings.kill_grace_seconds)
            return
        if isinstance(ending, StagingFailed) and self.spared:
            return
        self._runner.inbox.close()
        if at_once(ending):
            self._runner.stop(0)
        else:
            self._runner.wait(self._settings.kill_grace_seconds)

    def _succeeded(self, ended: NewEvent) -> None:
        assert isinstance(ended.data, SucceededData)
        stage = Stage.PUBLISHING
        self._session.write(new_event(EventType.STAGE, stage.value, StageData(stage=stage)))
        self._session.flush()
        try:
            self._publish(ended.data.artifact)
        except Interrupted:
            raise
        except Exception as error:
            log.exception("job %s: cannot publish", self._lease.job_id)
            self._log.say(f"cannot publish: {told(error, 'publishing').message}")
            self._not_published(error)
            return
        self._finish_told(self._push.completed(ended, self._publication.folder), self._lease.prefix)

    def _not_published(self, error: Exception) -> None:
        if self._runner.robbed:
            self._lost(Lost(SCRATCH_GONE))
        elif (away := passing(error)) is not None:
            self._put_off(away)
        else:
            self._finish_told(failure(told(error, "publishing"), Stage.PUBLISHING))

    def _put_off(self, error: LayercutError) -> None:
        """What is finished could not be published: the next attempt goes on from the last checkpoint, which holds all
        that was trained. Where room is missing, the attempt was lost; what is only away costs none.
        """
        if error.code in NOT_SOON:
            self._lost(Lost.by(error))
            return
        self._cache_server.close(self._settings.kill_grace_seconds)
        self._checkpoint_sync.drain(self._settings.kill_grace_seconds)
        self._hand_back(error, Stage.PUBLISHING)

    def _hand_back(self, error: LayercutError, stage: Stage) -> None:
        self._flush()
        body = JobError.of(error, stage)
        self._session.retrying(lambda: self._store.hand_back(self._lease, Lost.by(error).reason, body))

    def _failed(self, ended: NewEvent) -> None:
        """A failure may leave files all the same: an objective that was not met does."""
        assert isinstance(ended.data, FailedData)
        if self._runner.robbed and ended.data.error.code not in RULE_BREAKERS:
            self._lost(Lost(SCRATCH_GONE))  # a cleaner may have come to its files before it came to the folder
            return
        published = False
        if ended.data.artifact is not None:
            try:
                published = self._published(ended.data.artifact)
            except LayercutError as error:
                self._put_off(error)
                return
        met = ended.data.error
        if met.code == "internal":
            self._tell_last_words("the runner's last lines")
        if passes(met):
            # The job may go on elsewhere.
            self._checkpoint_sync.drain(self._settings.kill_grace_seconds)
        self._finish_told(ended, self._lease.prefix if published else None)

    def _not_staged(self, failed: StagingFailed) -> None:
        """What its inputs come from, or the checkpoints that it goes on from, may only be away: that costs nothing."""
        away = passing(failed.error)
        if away is not None and away.code not in NOT_SOON:
            self._hand_back(away, Stage.RESOLVING)
        else:
            self._finish(failure(failed.error, Stage.RESOLVING))

    def _lost_runner(self, exit_: Exit) -> None:
        self._lost(lost_by(exit_, self._runner.scratch))

    def _lost(self, lost: Lost) -> None:
        self._tell_last_words(lost.reason)
        self._checkpoint_sync.drain(self._settings.kill_grace_seconds)
        self._flush()
        error = None if lost.error is None else JobError.of(lost.error)
        self._session.retrying(lambda: self._store.release(self._lease, lost.reason, error))

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
        if self._publication.away is not None:
            self._put_off(self._publication.away)
            return
        message = f"the attempt ran longer than limits.max_runtime_seconds = {self._seconds}"
        if self._waiting.late:
            message += f", as publishing its files took more than {PUBLISHING_SECONDS:.0f} seconds"
        self._finish(failure(LayercutError("timeout", message, param="/limits/max_runtime_seconds")))

    def _lost_lease(self, _: Interrupt) -> None:
        raise LeaseLost(self._lease)

    def _published(self, files: ArtifactFiles) -> bool:
        """Raises what passes, where that has not passed in time."""
        try:
            self._publish(files)
        except Interrupted as cut:
            if cut.why is not Interrupt.TIMEOUT or self._publication.away is not None:
                raise
            log.warning("job %s: publishing the files of a failed job takes too long", self._lease.job_id)
            return False
        except Exception as error:  # the failure that the runner told is the one to report
            log.exception("job %s: cannot publish the files of a failed job", self._lease.job_id)
            if (away := passing(error)) is not None:
                raise away from None
            return False
        return True

    def _publish(self, files: ArtifactFiles | None) -> None:
        self._waiting.beside(self._publication.work(files, self._staged, PUBLISHING_SECONDS))

    def _say(self, message: str) -> None:
        self._session.write(new_event(EventType.LOG, message, LogData()))

    def _tell_away(self, error: LayercutError) -> None:
        message = f"{error.code}: {error.message}. It is tried again"
        self._session.write(new_event(EventType.LOG, message, LogData(), "warning"))

    def _finish_told(self, event: NewEvent, artifact: str | None = None) -> None:
        self._finish_cache()
        self._finish(event, artifact)

    def _finish(self, event: NewEvent, artifact: str | None = None) -> None:
        self._flush()
        try:
            size = self._publication.bytes if artifact else None
            self._session.retrying(lambda: self._store.finish(self._lease, event, artifact, size))
        except (ValueError, KeyError) as error:
            log.exception("job %s: its ending cannot be kept", self._lease.job_id)
            lost = failure(LayercutError("internal", f"the runner's {event.type} is not understood: {error}"))
            self._session.retrying(lambda: self._store.finish(self._lease, lost))

    def _flush(self) -> None:
        """After the last write about an attempt nothing more of it can be told."""
        self._session.flush()
        self._log.flush()

    def _tell_last_words(self, what: str) -> None:
        words = self._runner.last_words
        if words:
            message = f"{what}:\n{words[-LONGEST_MESSAGE:]}"
            self._session.write(new_event(EventType.LOG, message, LogData(source="stderr"), "error"))
