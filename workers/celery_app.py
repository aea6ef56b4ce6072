"""The Celery side of a worker: a wake-up comes in, one job is done. Imports no torch.

Where no wake-up comes, as the broker is away or lost it, the worker looks for work by itself.

Two processes: Celery with the supervisor in its one pool thread, and the runner. Not Celery's usual forked pool. There,
on transports without an event loop, a child that is killed while it waits takes the pool's lock with it, and the worker
takes messages for ever and runs none; and the kernel kills a child with the parent's thread that forked it, in the
middle of a warm shutdown. What must be isolated, limited and killed is the job: that is the runner's process.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

from celery import Celery, signals
from celery.worker import state

from api_schemas.errors import ERRORS
from api_schemas.workers import About
from sources.hub_client import guard_client
from store.artifacts import ArtifactStore
from store.broker import WAKE, celery_settings
from store.database import migrate, open_engine
from store.disk_space import artifacts_folder
from store.first_folder import make_folder_once
from store.workers import WorkerStore
from telemetry.tracing import Tracing
from telemetry.worker_metrics import WorkerMetrics
from workers.sandbox.sandbox import Sandbox, Unconfined
from workers.settings import WorkerSettings
from workers.supervision import scratch
from workers.supervision.about import VERSION, about_worker, auto_precision
from workers.supervision.checkpoint_sync import sweep_ended
from workers.supervision.health_server import open_health_server
from workers.supervision.idle_lock import IdleLock
from workers.supervision.input_staging import stage_inputs
from workers.supervision.poller import Poller
from workers.supervision.presence import Presence
from workers.supervision.pulse import Pulse
from workers.supervision.recorded_store import RecordedCache, RecordedJobs
from workers.supervision.recording import Recorder
from workers.supervision.speed_notes import SpeedNotes
from workers.supervision.stored_inputs import StoreInputs
from workers.supervision.supervisor import Supervisor
from workers.supervision.waker import Waker
from workers.tracking.tracking import Tracking, trackers_of

log = logging.getLogger("layercut.worker")

#: After what ended Celery's worker, such as a folder of the broker that cannot be read.
LISTEN_AGAIN_SECONDS = 5.0

#: So long the end of a worker waits for its last wake-up.
WAKE_SECONDS = 5.0

#: So long it waits for the services that track jobs to be told of the last one's end.
TRACKING_SECONDS = 5.0

#: So long the database may take to answer.
LONGEST_CALL_SECONDS = 30.0

#: The loop that looks for work, as health has it; beyond some of its turns it may take so long.
LOOK, LOOK_SECONDS = "look", 60.0

#: In vain, for work, before a worker multiplies matrices to know its speed.
LOOKS_BEFORE_PROBE = 2

RUNNER = [sys.executable, "-P", "-m", "workers.runner"]


class WorkerProcess:
    """What a worker works with. Brings the database up to date, and has a runner waiting."""

    def __init__(self, settings: WorkerSettings, idle_lock: IdleLock | None = None) -> None:
        guard_client(settings.hub_hosts)
        # Within a lease there must be time for more than one try.
        self.engine = open_engine(settings.database_url, min(LONGEST_CALL_SECONDS, settings.lease_seconds / 2))
        migrate(self.engine)
        make_folder_once(self.engine, artifacts_folder(settings.artifacts_url), log.warning)
        scratch.sweep(settings.scratch_root)
        name = f"{socket.gethostname()}-{os.getpid()}"
        #: One job at a time, whoever woke.
        self._busy = threading.Lock()
        self._unsent, self._waker = False, Waker(self._send_wake_up)
        self._pulse, about = Pulse(), about_worker(settings.device)
        self._about, self._looks = about, 0
        self._speeds = SpeedNotes(settings.data_dir / "speeds", about.gpu_name or "cpu", auto_precision(about))
        self.tracing = Tracing("layercut-worker", VERSION)
        folders = {"data": settings.data_dir, "scratch": settings.scratch_root}
        metrics = WorkerMetrics(VERSION, ERRORS, folders, lambda: len(self._pulse.stuck()))
        recorder = Recorder(name, metrics, self.tracing, self._pulse, about.device)
        self._tracking = Tracking(trackers_of(settings), version=VERSION, public_url=settings.public_url)
        self.store = RecordedJobs(
            self.engine, settings.lease_seconds, retry_seconds=settings.retry_seconds,
            artifact_days=settings.artifact_days, recorder=recorder, tracking=self._tracking,
        )  # fmt: skip
        self.sandbox = Sandbox.of(settings)
        self._sweep = partial(sweep_ended, settings.checkpoint_root, self.store, settings.checkpoint_days)
        self._sweep()
        self.presence = Presence(
            WorkerStore(self.engine), name, self.sandbox.report, self.about, doing=recorder.doing, pulse=self._pulse
        )
        recorder.changed = self.presence.changed
        artifacts, own_user = ArtifactStore(settings.artifacts_url, mkdir=False), "own_user" in self.sandbox.measures
        self.supervisor = Supervisor(
            self.store,
            RecordedCache(self.engine, metrics.count_cache),
            artifacts,
            settings,
            command=RUNNER,
            stage=stage_inputs(settings, another_user=own_user, stored=StoreInputs(artifacts, settings)),
            worker=name,
            sandbox=self.sandbox,
            around=recorder.attempt,
            pause=self.presence.pause,
            learn=self._learn,
            tracking=self._tracking,
        )
        self._idle_exit_seconds, self._worked_at = settings.idle_exit_seconds, time.monotonic()
        self._idle_lock = idle_lock or IdleLock(None)
        self._look_seconds = 4 * settings.poll_seconds + LOOK_SECONDS
        self.poller = Poller(self.look, settings.poll_seconds)
        self.health = open_health_server(settings.worker_host, settings.worker_port, self._pulse, metrics.text)
        self.supervisor.prepare()

    def work(self) -> bool:
        """Do the best queued job, after the one that is being done; whether there was one."""
        with self._busy:
            self._pulse.rest(LOOK)  # whoever looks may do the job, for hours
            if not self._idle_lock.hold():  # the fleet leaves
                return False
            worked = self.supervisor.work()
            self._worked_at = time.monotonic() if worked else self._worked_at
        if worked and not self.supervisor.stopping:
            self.wake_another()
        return worked

    def look(self) -> bool:
        """The same, unless one is being done. Without one, what deleted jobs left on this host goes."""
        self._pulse.beat(LOOK, self._look_seconds)
        if self._busy.locked():
            return False
        worked = self.work()
        if not worked:
            # Also where the disk is too full to take a job: it may be these that fill it.
            self._sweep()
            self._probe()
            self._leave_if_idle()
        return worked

    def _leave_if_idle(self) -> None:
        """Whoever started this worker for the jobs that there were starts another for the next. One of a fleet stays
        for as long as another of it has a job, and only says that it has none.
        """
        with self._busy:  # no job is begun meanwhile, and none after this
            idle = time.monotonic() - self._worked_at
            if not 0 < self._idle_exit_seconds <= idle or self.supervisor.stopping:
                return
            if self._idle_lock.shared:
                self._idle_lock.release()
                return
            self.supervisor.stop()
        log.info("no job for %.0f s: this worker leaves", idle)
        os.kill(os.getpid(), signal.SIGTERM)

    @property
    def about(self) -> About:
        """With what is known of its speed by now."""
        return self._about.model_copy(update={"speeds": self._speeds.speeds})

    def _learn(self, files: Path) -> None:
        self._tracking.published(files)
        if self._speeds.learn(files):
            self.presence.describe(self.about)

    def _probe(self) -> None:
        """Beside a job it would measure less than there is, and slow the job down."""
        self._looks += 1
        if self._looks >= LOOKS_BEFORE_PROBE and self._speeds.probe():
            self.presence.describe(self.about)

    def wake_another(self) -> None:
        """Have a wake-up sent where a job waits. What cannot be sent now, the reaper sends later."""
        self._waker.ask()

    def _send_wake_up(self) -> None:
        try:
            if self.store.has_queued():
                app.send_task(WAKE)
                self._unsent = False
        except Exception as error:  # noqa: BLE001 - whatever a database or a broker that is away raises
            if not self._unsent:
                log.warning("cannot send a wake-up: %s: %s", type(error).__name__, error)
            self._unsent = True

    def close(self) -> None:
        self.poller.close()
        self._waker.close(WAKE_SECONDS)
        self.presence.close()
        self.supervisor.close()
        if self.health is not None:
            self.health.close()
        self._tracking.close(TRACKING_SECONDS)
        self.tracing.close()
        self.engine.dispose()


worker_process: WorkerProcess | None = None


def _configuration() -> dict[str, Any]:
    return {
        **celery_settings(WorkerSettings().broker_url),
        "worker_pool": "threads",
        "worker_concurrency": 1,
        # Cancelling and states go through the store; the filesystem transport keeps each control message as a file.
        "worker_enable_remote_control": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
    }


app = Celery("layercut")
# A promise: the environment is read when the app is first used, not when this module is imported.
app.add_defaults(_configuration)


@app.task(name=WAKE)  # type: ignore[untyped-decorator]  # celery has no types
def wake() -> None:
    """Do the best queued job, and pass the wake-up on where more wait. A wake-up for nothing is harmless."""
    assert worker_process is not None
    worker_process.work()


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _hand_back(**_: Any) -> None:
    """SIGTERM: Celery takes no more wake-ups and waits for the job, which must therefore not go on."""
    if worker_process is not None:
        worker_process.supervisor.stop()
        worker_process.presence.drain()


def _stop_early(*_: object) -> None:
    """Told to stop while nobody listens to the broker yet: Celery will see it as soon as it does."""
    _hand_back()
    state.should_stop = 0


def run_worker() -> int:
    """Work until told to stop; the exit code."""
    global worker_process  # noqa: PLW0603 - Celery gives a handler no other way to what its process owns
    settings, idle_lock = WorkerSettings(), IdleLock.of_environment()
    try:
        worker_process = WorkerProcess(settings, idle_lock)
    except Unconfined as error:
        log.error("%s", error)
        return 1
    # From now on there may be a job, and Celery's own handlers come with its worker.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop_early)
    try:
        worker_process.poller.start()
        # Jobs may have waited for a worker for longer than their wake-ups lived.
        worker_process.wake_another()
        code = _listen(worker_process.supervisor, settings)
        worker_process.poller.close()
        # For the job that was handed back. Before this, our own consumer would have taken the message.
        worker_process.wake_another()
    finally:
        worker_process.close()
    return code


def _listen(supervisor: Supervisor, settings: WorkerSettings) -> int:
    """Hear wake-ups until told to stop; the exit code. What ends Celery ends no worker: another listens after it."""
    code = 0
    while not supervisor.stopping:
        worker = app.Worker(
            hostname=f"layercut-{os.getpid()}@{socket.gethostname()}",
            loglevel=settings.log_level,
            quiet=True,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )
        worker.start()
        if supervisor.stopping:
            code = int(worker.exitcode or 0)
            break
        log.error("nobody listens to the broker any more: begun again in %.0f s", LISTEN_AGAIN_SECONDS)
        time.sleep(LISTEN_AGAIN_SECONDS)
    return code
