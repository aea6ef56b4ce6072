"""Claims a job, has a runner do it, and tells the store how it ended. Imports no torch."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from api_schemas.errors import JobError, LayercutError
from api_schemas.events import EventType, Level, LogData, new_event
from store.artifacts import ArtifactStore
from store.cache import CacheStore
from store.disk_space import local_folders
from store.jobs import Claim, JobStore
from store.tables import DEFAULT_TENANT
from workers.cache.folder import FolderCache
from workers.runtime.failures import code_of
from workers.sandbox.sandbox import Sandbox
from workers.settings import WorkerSettings
from workers.supervision.about import written_here
from workers.supervision.attempt import Attempt
from workers.supervision.cache_server import CacheServer
from workers.supervision.input_staging import Stage
from workers.supervision.lease_session import Interrupt, LeaseSession
from workers.supervision.log_writer import LogWriter
from workers.supervision.publication import Learn, unlearnt
from workers.supervision.room import Pause, Room
from workers.supervision.runner_process import RunnerProcess
from workers.supervision.store_check import StoreCheck
from workers.supervision.threads import NoThread
from workers.supervision.warm_runner import WarmRunner
from workers.tracking.tracking import Tracking

log = logging.getLogger("layercut.supervisor")


class Supervisor:
    """One job at a time. ``command`` starts a runner that waits for a ``Handover`` on its stdin; ``stage`` gets its
    inputs; ``around`` is entered for each attempt. ``pause`` is told why no job is taken for now, and None once they
    are again. ``learn`` gets the folder of each job's published files. ``tracking`` is told of each attempt.
    """

    def __init__(
        self,
        store: JobStore,
        cache: CacheStore,
        artifacts: ArtifactStore,
        settings: WorkerSettings,
        *,
        command: list[str],
        worker: str,
        stage: Stage,
        sandbox: Sandbox,
        around: Callable[[Claim], AbstractContextManager[object]] = nullcontext,
        pause: Pause = lambda _: None,
        learn: Learn = unlearnt,
        tracking: Tracking | None = None,
    ) -> None:
        self._store, self._artifacts, self._settings, self._around = store, artifacts, settings, around
        self._worker, self._stage, self._learn = worker, stage, learn
        self._tracking = tracking or Tracking([], version="")
        self._cache, self._local = cache, FolderCache(settings.scratch_root / "cache", settings.cache_bytes)
        self._sandbox = sandbox
        self._warm = WarmRunner(command, settings.scratch_root, sandbox)
        disks = local_folders(settings.database_url, settings.artifacts_url)
        folders = [settings.scratch_root, settings.data_dir, *disks]
        asked = StoreCheck(ArtifactStore(settings.artifacts_url, settings.database_seconds, mkdir=False))
        self._room = Room(folders, settings.min_free_bytes, self._warm.ready, pause, refusal=asked.refusal)
        self._runner: RunnerProcess | None = None
        self._formats = written_here()
        self.stopping = False

    def prepare(self) -> None:
        """Have a runner waiting for the next job, where one can be started now."""
        if self.stopping:
            return
        try:
            self._warm.prepare()
        except OSError as error:  # whoever looks for a job tries again, and says so
            log.warning("cannot start a runner: %s", error)

    def close(self) -> None:
        self._warm.clear()
        self._sandbox.close()

    def stop(self) -> None:
        """Hand the running job back and take no other. Safe in a signal handler."""
        self.stopping = True
        runner = self._runner
        if runner is not None:
            runner.inbox.put(Interrupt.STOPPING)

    def work(self) -> bool:
        """Claim the best queued job and see it through; False where there was none to claim, or nothing to do it with:
        what the host lacks is no job's fault, and is found out before one is claimed.
        """
        if self.stopping or self._room.missing():
            return False
        sent = time.monotonic()
        # What another tenant's job could do to this host, where nothing holds it back, is not for this worker to risk.
        confined = self._sandbox.complete or self._settings.allow_unconfined
        claim = self._store.claim(self._worker, only_default=not confined, formats=self._formats)
        if claim is None:
            return False
        try:
            with self._around(claim):
                log.info("job %s: attempt %d starts", claim.lease.job_id, claim.lease.attempt)
                self._supervise(claim, sent)
        finally:
            self._runner = None
            self.prepare()
        return True

    def _supervise(self, claim: Claim, sent: float) -> None:
        try:
            runner = self._runner = self._warm.take()
        except OSError as error:
            self._give_up(claim, "the worker could not start a runner", error)
            raise
        if self.stopping:  # told so before there was an inbox to say it in
            runner.inbox.put(Interrupt.STOPPING)
        try:
            self._attempt(claim, runner, sent)
        except NoThread as error:
            # A runner that has the job may have had them all, and is gone now.
            self._give_up(claim, "the worker could not see the job through", error, lost=runner.given)
            raise

    def _give_up(self, claim: Claim, what: str, error: OSError, *, lost: bool = False) -> None:
        """``lost``: the job may be at fault, and has lost the attempt. What the host alone lacks costs none."""
        reason = f"{what}: {error.strerror or type(error).__name__}"
        if lost:
            self._store.release(claim.lease, reason)
        else:
            self._store.hand_back(claim.lease, reason, JobError.of(LayercutError(code_of(error), reason)))

    def _attempt(self, claim: Claim, runner: RunnerProcess, sent: float) -> None:
        # Nobody is handed what another tenant's job made on this host.
        spared, local = False, self._local if claim.lease.pool == DEFAULT_TENANT else self._local.part(claim.lease.pool)
        try:
            with (
                LeaseSession(self._store, claim.lease, self._settings, inbox=runner.inbox, accepted=sent) as session,
                LogWriter(self._store, claim.lease, self._settings.log_bytes) as job_log,
            ):
                runner.hears = job_log.add
                self._tracking.begin(claim, partial(_say, session))
                cache_server = CacheServer(
                    claim.lease, runner, session, cache=self._cache, artifacts=self._artifacts, local=local,
                    wait_seconds=self._settings.cache_wait_seconds,
                )  # fmt: skip
                # Verifying is another process's work: the next runner imports what it needs beside it, not after.
                attempt = Attempt(
                    claim, runner, session, cache_server, job_log, stage=self._stage,
                    store=self._store, artifacts=self._artifacts, settings=self._settings, started=sent,
                    learn=self._learn, warnings=lambda: self._tracking.warnings,
                    at_verifying=self.prepare,
                )  # fmt: skip
                attempt.run()
                spared = attempt.spared
        finally:
            if spared and runner.reset():
                self._warm.give_back(runner)
            else:
                runner.dispose()


def _say(session: LeaseSession, text: str, level: Level) -> None:
    session.write(new_event(EventType.LOG, text, LogData(), level))
