"""Staging of one attempt's inputs, in a thread beside it: the attempt must stay able to heed a cancel or a stop."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from api_schemas.errors import LayercutError
from sources.blocks import Cancelled, Stopped
from sources.fingerprint import FileHashes
from sources.staging import Staged, Stager
from sources.stored_inputs import NO_STORE, StoredInputs
from store.jobs import Claim
from workers.settings import WorkerSettings
from workers.supervision.inbox import Inbox
from workers.supervision.retries import Tell, Wait, persist, told
from workers.supervision.scratch import Scratch
from workers.supervision.threads import start

log = logging.getLogger("layercut.staging")


#: How long a hub or a store may be away while inputs are staged; then another attempt tries, later.
AWAY_SECONDS = 300.0


@dataclass(frozen=True)
class StagingFailed:
    """What keeps the job from its inputs."""

    error: LayercutError


class Stage(Protocol):
    def __call__(self, claim: Claim, folder: Path, stopped: Stopped) -> Staged:
        """Have all that the job of ``claim`` reads in ``folder``; raises as ``Stager.stage`` does."""


def stage_inputs(settings: WorkerSettings, *, another_user: bool, stored: StoredInputs = NO_STORE) -> Stage:
    """The staging of a worker, whose runners may be ``another_user``; ``stored`` finds what lies in stores.

    It knows the hub and its token, and the roots; a runner does not.
    """
    # As the supervisor's own notes: what a runner could write to would not be believed.
    hashes = FileHashes(settings.data_dir / "hashes")
    # Without /proc a descriptor has no name that libraries could open.
    copy_bytes = settings.copy_bytes if Path("/proc/self/fd").is_dir() else sys.maxsize

    def stage(claim: Claim, folder: Path, stopped: Stopped) -> Staged:
        stager = Stager(settings, hashes, folder, copy_bytes, stopped, another_user, stored)
        return stager.stage(claim.request, claim.resolved)

    return stage


class InputStaging:
    """Puts ``Staged`` or ``StagingFailed`` into ``inbox``, after ``first`` is done. What is away for a moment is asked
    again. Use as a context manager, which leaves the thread behind where it is in the middle of a download: that cannot
    be stopped, and is kept for the next job.
    """

    def __init__(
        self, stage: Stage, claim: Claim, scratch: Scratch, inbox: Inbox, *, first: Callable[[Wait], None], tell: Tell
    ) -> None:
        self._stage, self._claim, self._scratch, self._inbox = stage, claim, scratch, inbox
        self._first, self._tell = first, tell
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
        job = self._claim.lease.job_id
        try:
            self._first(self._stopped.wait)
            staged = persist(
                self._staged_anew, self._stopped.wait, f"job {job}: its inputs", tell=self._tell, seconds=AWAY_SECONDS
            )
        except Cancelled:
            return
        except Exception as error:
            if not isinstance(error, LayercutError):
                log.exception("job %s: cannot stage its inputs", job)
            self._inbox.put(StagingFailed(told(error, "staging the job's inputs")))
            return
        with self._lock:
            if self._stopped.is_set():
                staged.close()
                return
            self._staged = staged
        self._inbox.put(staged)

    def _staged_anew(self) -> Staged:
        self._scratch.clear_inputs()
        return self._stage(self._claim, self._scratch.inputs, self._stopped.is_set)
