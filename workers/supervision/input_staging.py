"""Staging of one attempt's inputs, in a thread beside it: the attempt must stay able to heed a cancel or a stop."""

from __future__ import annotations

import logging
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from api_schemas.errors import LayercutError
from sources.blocks import Cancelled, Stopped
from sources.fingerprint import FileHashes
from sources.staging import Staged, Stager
from store.jobs import Claim
from workers.runtime.failures import explained
from workers.settings import WorkerSettings
from workers.supervision.inbox import Inbox
from workers.supervision.threads import start

log = logging.getLogger("layercut.staging")


@dataclass(frozen=True)
class StagingFailed:
    """What keeps the job from its inputs."""

    error: LayercutError


class Stage(Protocol):
    def __call__(self, claim: Claim, folder: Path, stopped: Stopped) -> Staged:
        """Have all that the job of ``claim`` reads in ``folder``; raises as ``Stager.stage`` does."""


def stage_inputs(settings: WorkerSettings, *, another_user: bool) -> Stage:
    """The staging of a worker, whose runners may be ``another_user``.

    It knows the hub and its token, and the roots; a runner does not.
    """
    # As the supervisor's own notes: what a runner could write to would not be believed.
    hashes = FileHashes(settings.data_dir / "hashes")
    # Without /proc a descriptor has no name that libraries could open.
    copy_bytes = settings.copy_bytes if Path("/proc/self/fd").is_dir() else sys.maxsize

    def stage(claim: Claim, folder: Path, stopped: Stopped) -> Staged:
        stager = Stager(settings, hashes, folder, copy_bytes, stopped, another_user)
        return stager.stage(claim.request, claim.resolved)

    return stage


class InputStaging:
    """Puts ``Staged`` or ``StagingFailed`` into ``inbox``. Use as a context manager, which leaves the thread behind
    where it is in the middle of a download: that cannot be stopped, and is kept for the next job.
    """

    def __init__(self, stage: Stage, claim: Claim, folder: Path, inbox: Inbox) -> None:
        self._stage, self._claim, self._folder, self._inbox = stage, claim, folder, inbox
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._staged: Staged | None = None
        self._thread = threading.Thread(target=self._run, name="staging", daemon=True)

    def __enter__(self) -> InputStaging:
        start(self._thread)
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._stopped.set()
            if self._staged is not None:
                self._staged.close()

    def _run(self) -> None:
        try:
            staged = self._stage(self._claim, self._folder, self._stopped.is_set)
        except Cancelled:
            return
        except Exception as error:
            if not isinstance(error, LayercutError):
                log.exception("job %s: cannot stage its inputs", self._claim.lease.job_id)
            self._inbox.put(StagingFailed(explained(error)))
            return
        with self._lock:
            if self._stopped.is_set():
                staged.close()
                return
            self._staged = staged
        self._inbox.put(staged)
