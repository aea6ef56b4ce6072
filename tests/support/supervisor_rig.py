"""A supervisor with a store on SQLite, artifacts in a folder, and `fake_runner.py` for its runner."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import text

from api_schemas.events import Event
from api_schemas.jobs import Job
from sources.inputs import Inputs
from sources.staging import Staged
from store.artifacts import ArtifactStore
from store.audit import Actor
from store.cache import CacheStore
from store.database import open_engine
from store.jobs import Claim, JobStore
from store.tables import DEFAULT_TENANT
from tests.support.events import queue
from tests.support.migrated_database import migrated_sqlite
from workers.sandbox.sandbox import Sandbox
from workers.settings import WorkerSettings
from workers.supervision.input_staging import Stage
from workers.supervision.publication import Learn, unlearnt
from workers.supervision.room import Pause
from workers.supervision.supervisor import Supervisor

FAKE_RUNNER = [sys.executable, str(Path(__file__).with_name("fake_runner.py"))]


#: What a fake runner could not work in: it is no program of ours.
UNLOCKED = Sandbox.none("a fake runner")


def no_inputs(claim: Claim, folder: Path, stopped: Callable[[], bool]) -> Staged:
    """For runners that read none."""
    return Staged(Inputs(folder=folder), [], 0.0, 0, 0)


class Rig:
    """A supervisor, and what tests ask of the things around it."""

    def __init__(
        self,
        settings: WorkerSettings,
        command: list[str],
        stage: Stage,
        pause: Pause = lambda _: None,
        learn: Learn = unlearnt,
    ) -> None:
        self.settings = settings
        self.engine = open_engine(migrated_sqlite(settings.database_url))
        self.store = JobStore(self.engine, settings.lease_seconds)
        self.artifacts = ArtifactStore(settings.artifacts_url)
        self.cache = CacheStore(self.engine)
        self.supervisor = Supervisor(
            self.store, self.cache, self.artifacts, settings,
            command=command, worker="rig", stage=stage, sandbox=UNLOCKED, pause=pause, learn=learn,
        )  # fmt: skip
        self._threads: list[threading.Thread] = []

    def submit(self, *acts: str, tenant: str = DEFAULT_TENANT, **limits: int) -> str:
        sent = {"model": "a/b", "task": "none", "metadata": {"acts": " ".join(acts)}, "limits": limits}
        return queue(self.store.of(Actor(tenant)), sent).id

    def run(self, *acts: str, **limits: int) -> Job:
        """Submit a job and see one attempt at it through."""
        job_id = self.submit(*acts, **limits)
        assert self.supervisor.work()
        return self.store.get(job_id)

    def start(self) -> threading.Thread:
        """Work in the background."""
        thread = threading.Thread(target=self.supervisor.work)
        thread.start()
        self._threads.append(thread)
        return thread

    def events(self, job_id: str) -> list[Event]:
        return self.store.events(job_id, limit=1000)[0]

    def texts(self, job_id: str) -> str:
        return "\n".join(f"{event.type} {event.message}" for event in self.events(job_id))

    def steal(self, job_id: str) -> None:
        """As the reaper and another worker would: the job runs under another token."""
        with self.engine.begin() as connection:
            connection.execute(text("UPDATE jobs SET lease_token = 'other' WHERE id = :id"), {"id": job_id})

    def scratch(self) -> list[Path]:
        return [path for path in self.settings.scratch_root.glob("*") if path != self.waiting_folder]

    @property
    def waiting_folder(self) -> Path | None:
        waiting = self.supervisor._warm._waiting
        return waiting.scratch.folder if waiting else None

    def stored(self, job_id: str) -> list[str]:
        """Names of all artifact folders of the job's attempts."""
        attempts = self.settings.data_dir / "artifacts" / "jobs" / job_id / "attempts"
        return sorted(path.name for path in attempts.glob("*") if any(path.iterdir()))

    def close(self) -> None:
        self.supervisor.stop()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()
        self.supervisor.close()
        self.engine.dispose()
