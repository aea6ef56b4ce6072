"""The Celery side of a worker: a wake-up comes in, one job is done. Imports no torch.

Three processes: Celery's parent, which talks to the broker; its one pool child, where the supervisor is; the runner.
SIGTERM (warm shutdown) comes to the parent, which by itself only waits for the pool: so it passes the signal on, and
the pool child hands its job back. A parent that is killed passes nothing on, so the child watches for that too.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import billiard
from billiard.util import set_pdeathsig
from celery import Celery, signals

from store.artifacts import ArtifactStore
from store.broker import WAKE, celery_settings
from store.database import migrate, open_engine
from store.jobs import JobStore
from workers import scratch
from workers.follow import when_parent_dies
from workers.settings import Settings
from workers.supervisor import Supervisor

log = logging.getLogger("layercut.worker")

RUNNER = [sys.executable, "-m", "workers.runner", "--wait"]


class Station:
    """What the pool child works with. ``busy`` is held while it works."""

    def __init__(self, settings: Settings) -> None:
        self.busy = threading.Lock()
        self.engine = open_engine(settings.database_url)
        self.store = JobStore(self.engine, settings.lease_seconds)
        self.supervisor = Supervisor(
            self.store,
            ArtifactStore(settings.artifacts_url),
            settings,
            command=RUNNER,
            worker=f"{socket.gethostname()}-{os.getpid()}",
        )

    def close(self) -> None:
        self.supervisor.close()
        self.engine.dispose()


station: Station | None = None


def _configuration() -> dict[str, Any]:
    return {
        **celery_settings(Settings().broker_url),
        "worker_pool": "prefork",
        "worker_concurrency": 1,
        # Cancelling and states go through the store. Control messages would be lost with the broker's folder.
        "worker_enable_remote_control": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
    }


app = Celery("layercut")
# A promise: the environment is read when the app is first used, not when this module is imported.
app.add_defaults(_configuration)


def run_worker() -> int:
    """Work until told to stop; the exit code. Brings the database up to date first."""
    settings = Settings()
    engine = open_engine(settings.database_url)
    migrate(engine)
    engine.dispose()
    worker = app.Worker(
        hostname=f"layercut-{os.getpid()}@{socket.gethostname()}",
        loglevel=settings.log_level,
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


@app.task(name=WAKE)
def wake() -> None:
    """Do the best queued job, and pass the wake-up on where more wait. A wake-up for nothing is harmless."""
    assert station is not None
    with station.busy, _sigterm_hands_back(station.supervisor):
        if station.supervisor.work():
            _wake_another(station.store)


def _wake_another(store: JobStore) -> None:
    try:
        if store.has_queued():
            app.send_task(WAKE)
    except Exception as error:  # whatever a database or a broker that is away raises: the reaper wakes us later
        log.warning("cannot pass the wake-up on: %s: %s", type(error).__name__, error)


@contextmanager
def _sigterm_hands_back(supervisor: Supervisor) -> Iterator[None]:
    # Set for each job: billiard installs its own handler after worker_process_init, which ends the process on the spot.
    before = signal.signal(signal.SIGTERM, lambda *_: supervisor.stop())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@signals.worker_shutting_down.connect
def _pass_sigterm_on(**_: Any) -> None:
    for child in billiard.active_children():
        os.kill(child.pid, signal.SIGTERM)


@signals.worker_process_init.connect
def _open_station(**_: Any) -> None:
    global station  # noqa: PLW0603 - Celery gives a handler no other place for what its process owns
    # Celery asks the kernel to kill us when our parent dies. The kernel means the parent's thread, and on a synchronous
    # transport that is one that ends early in a warm shutdown: the job would die before it is handed back.
    set_pdeathsig(0)
    settings = Settings()
    scratch.sweep(settings.scratch_root)
    station = Station(settings)
    station.supervisor.prepare()
    when_parent_dies(_leave_as_orphan)


@signals.worker_process_shutdown.connect
def _close_station(**_: Any) -> None:
    if station is not None:
        station.close()


def _leave_as_orphan() -> None:
    assert station is not None
    station.supervisor.stop()
    with station.busy:
        station.close()
        os._exit(1)
