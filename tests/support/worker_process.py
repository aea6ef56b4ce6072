"""A real worker in processes of its own, and the gateway's side of its queue."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
from celery import Celery

from api_schemas.jobs import Job, Status
from store.broker import QUEUE, WAKE, celery_settings, ensure_folders
from store.database import open_engine
from store.jobs import JobStore
from tests.support.events import queue
from tests.support.migrated_database import migrated_sqlite
from tests.support.processes import eventually
from tests.support.supervisor_rig import FAKE_RUNNER

LAUNCHER = Path(__file__).with_name("launch_worker.py")


class RealWorker:
    """One ``layercut worker``, whose runner is the fake one unless a real one is asked for."""

    def __init__(
        self, environment: dict[str, str], log: Path, *, real: bool = False, hidden: Path | None = None
    ) -> None:
        """``hidden``: a folder that it sees nothing of, where we may hide one: as if it were on another host."""
        self.log = log
        with log.open("ab") as stream:
            self.process = subprocess.Popen(
                [*_hiding(hidden), sys.executable, LAUNCHER, *([] if real else FAKE_RUNNER[1:])],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
                stderr=stream,
                stdout=stream,
                start_new_session=True,
            )

    @property
    def runner(self) -> psutil.Process | None:
        """The one that waits, or works."""
        children = psutil.Process(self.process.pid).children()
        return children[0] if children else None

    @property
    def ready(self) -> bool:
        return " ready." in self.log.read_text() and self.runner is not None

    def everyone(self) -> list[psutil.Process]:
        return [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def destroy(self) -> None:
        if self.process.poll() is None:
            for process in reversed(self.everyone()):
                process.kill()
            self.process.wait(30)


def _hiding(folder: Path | None) -> list[str]:
    """What runs a command that sees an empty folder there; only root may mount one."""
    if folder is None or os.geteuid() != 0:
        return []
    script = 'mount -t tmpfs -o size=64k tmpfs "$0" && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, str(folder)]


class Site:
    """A store and a broker, with workers at them. Plays the gateway: creates jobs, sends wake-ups, reaps."""

    def __init__(self, folder: Path, broker_url: str = "", **settings: object) -> None:
        self.folder = folder
        self.broker_url = broker_url or f"filesystem://{folder}/broker"
        often = {"kill_grace_seconds": 2, "retry_seconds": 0}
        values = {"data_dir": folder, "broker_url": self.broker_url, **often, **settings}
        self.environment = _environment(values)
        self.engine = open_engine(migrated_sqlite(f"sqlite:///{folder}/layercut.db"))
        self.store = JobStore(self.engine, float(str(settings.get("lease_seconds", 60))))
        self.sender = Celery("gateway", set_as_current=False)
        self.sender.conf.update(celery_settings(self.broker_url))
        self.workers: list[RealWorker] = []

    def start_worker(self, *, real: bool = False, connected: bool = True, **settings: object) -> RealWorker:
        """``connected``: it returns when the worker hears of its broker."""
        environment = {**self.environment, **_environment(settings)}
        worker = RealWorker(environment, self.folder / f"worker-{len(self.workers)}.log", real=real)
        self.workers.append(worker)
        eventually(lambda: worker.ready if connected else worker.runner is not None)
        return worker

    def stop_between_writes(self, worker: RealWorker) -> None:
        """SIGSTOP. Who sleeps in the middle of a write keeps SQLite's lock: that one is woken and stopped again."""
        while True:
            worker.process.send_signal(signal.SIGSTOP)
            with closing(sqlite3.connect(str(self.engine.url.database), timeout=1, isolation_level=None)) as connection:
                try:
                    connection.execute("BEGIN IMMEDIATE")
                    return
                except sqlite3.OperationalError:
                    worker.process.send_signal(signal.SIGCONT)

    def submit(self, *acts: str, wake: bool = True) -> str:
        sent = {"model": "a/b", "task": "none", "metadata": {"acts": " ".join(acts)}}
        job_id = queue(self.store, sent).id
        if wake:
            self.wake()
        return job_id

    def wake(self) -> None:
        ensure_folders(self.broker_url)
        self.sender.send_task(WAKE, queue=QUEUE)

    def ended(self, job_id: str) -> Job:
        """The job, once it has ended."""
        eventually(lambda: self.store.get(job_id).status.terminal)
        return self.store.get(job_id)

    def running(self, job_id: str, here: Path) -> None:
        """Returns when the runner has touched ``here``."""
        eventually(lambda: here.exists() and self.store.get(job_id).status == Status.RUNNING)

    def artifacts(self, job_id: str) -> list[str]:
        attempts = self.folder / "artifacts" / "jobs" / job_id / "attempts"
        return [path.parent.name for path in attempts.glob("*/manifest.json")]

    def close(self) -> None:
        for worker in self.workers:
            worker.destroy()
        self.sender.close()
        self.engine.dispose()


def _environment(settings: Mapping[str, object]) -> dict[str, str]:
    return {f"LAYERCUT_{name.upper()}": str(value) for name, value in settings.items()}


@contextmanager
def site(folder: Path, broker_url: str = "", **settings: object) -> Iterator[Site]:
    made = Site(folder, broker_url, **settings)
    try:
        yield made
    finally:
        made.close()
