"""Answers what a runner asks of the cache: fetches what is there, has one make what is not, waits while another does.

The cache spares work and is no part of it: where it fails, the runner makes the thing for itself and the job goes on.
"""

from __future__ import annotations

import errno
import logging
import math
import threading
import time
from functools import partial
from pathlib import Path
from typing import Self

from api_schemas.errors import LayercutError
from api_schemas.events import EventType, LogData, NewEvent, failure, new_event
from sources.cached_files import KINDS, Unusable, check_files
from store.artifacts import ArtifactStore
from store.cache import CacheStore, Have, Make, Wait
from store.jobs import Lease
from store.passing import passing
from workers.cache.folder import FolderCache
from workers.protocol import CacheAnswer, CacheKind, CacheRequest
from workers.removal import remove_tree
from workers.supervision.cache_uploads import CacheUploads
from workers.supervision.lease_session import LeaseSession
from workers.supervision.retries import told
from workers.supervision.runner_folders import copy_files, entered, link_files, made_folder
from workers.supervision.runner_process import RunnerProcess
from workers.supervision.serial_thread import SerialThread

log = logging.getLogger("layercut.cache")

#: How often a maker that is waited for is looked at.
LOOK_SECONDS = 0.5
#: Of one attempt. A search in a model of a thousand layers asks for no more than two thousand things.
MAX_REQUESTS = 10_000


class CacheServer:
    """Of one attempt. Requests are seen to in a thread beside it: the attempt must stay able to kill the runner.

    ``local`` is this host's own cache, of what was made here or fetched. ``wait_seconds`` is how long the attempt waits
    for jobs of other tenants, all together. Use as a context manager.
    """

    def __init__(
        self,
        lease: Lease,
        runner: RunnerProcess,
        session: LeaseSession,
        *,
        cache: CacheStore,
        artifacts: ArtifactStore,
        local: FolderCache,
        wait_seconds: float,
    ) -> None:
        self._lease, self._runner, self._session = lease, runner, session
        self._cache, self._artifacts, self._local = cache, artifacts, local
        self._uploads = CacheUploads(lease, session, cache, artifacts)
        self._thread = SerialThread("cache")
        self._asked, self._unanswered, self._answered_at = 0, False, 0.0
        #: What the runner was told to make, and where the files of it go for all; None: nowhere.
        self._to_make: dict[tuple[str, str], str | None] = {}
        # What one attempt makes may fill the cache once: more would only push out what others use.
        self._room = local.max_bytes
        self._patience = wait_seconds
        self._closed, self._late = threading.Event(), threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close(0)

    @property
    def answered(self) -> float:
        """Until when the runner has waited for an answer, by ``time.monotonic``; infinite while it does."""
        return math.inf if self._unanswered else self._answered_at

    def handle(self, request: CacheRequest) -> NewEvent | None:
        """Have it seen to. The failure of the job, where no sound runner would ask so: it asks one thing at a time, and
        makes what it was told to make.
        """
        rules = (
            (self._unanswered, "asked again before it was answered"),
            (self._asked >= MAX_REQUESTS, f"asked more than {MAX_REQUESTS} times"),
            (request.cache == "made" and request.thing not in self._to_make, "made what it was not told to make"),
        )
        for broken, what in rules:
            if broken:
                log.warning("job %s: the runner %s of the cache: %s", self._lease.job_id, what, request)
                return failure(_violation(what))
        self._asked, self._unanswered = self._asked + 1, True
        self._thread.put(partial(self._see_to, request))
        return None

    def close(self, seconds: float | None) -> None:
        """The runner is gone: wait for nobody any more, and finish publishing what it made, within ``seconds``."""
        self._closed.set()
        deadline = None if seconds is None else time.monotonic() + seconds
        for part in (self._thread, self._uploads):
            part.finish(None if deadline is None else max(0.0, deadline - time.monotonic()))
        self._late.set()

    def _see_to(self, request: CacheRequest) -> None:
        try:
            answer = self._want(request) if request.cache == "want" else self._made(request)
        except Exception as error:  # nothing can be answered, and the runner would wait for ever
            log.exception("job %s: cannot answer what the runner asks of the cache", self._lease.job_id)
            self._runner.inbox.put(failure(told(error, "the cache")))
            return
        # Before it is answered: it may ask the next at once.
        self._answered_at, self._unanswered = time.monotonic(), False
        self._runner.answer(answer)

    def _want(self, request: CacheRequest) -> CacheAnswer:
        try:
            return self._find(request)
        except Exception:
            log.exception("job %s: the cache fails; the job makes its %s itself", self._lease.job_id, request.kind)
            return self._empty(request)

    def _find(self, request: CacheRequest) -> CacheAnswer:
        waits_for: str | None = ""
        while not self._closed.is_set():
            found = self._session.retrying(lambda: self._cache.take(self._lease, request.kind, request.fingerprint))
            if isinstance(found, Make):
                return self._make(request, found)
            if isinstance(found, Have) and (answer := self._fetch(request, found)):
                return answer
            if isinstance(found, Wait):
                if found.job_id != waits_for:
                    waits_for = found.job_id
                    self._tell(request, found, "waiting for the {kind} that {maker} is making")
                if not self._wait(found):
                    self._tell(request, found, "waited long enough for the {kind} of {maker}: this job makes its own")
                    break
        return self._empty(request)

    def _wait(self, found: Wait) -> bool:
        """A moment; False where a job of another tenant, which may never make it, was waited for long enough."""
        if found.job_id is None:
            if self._patience <= 0:
                return False
            self._patience -= LOOK_SECONDS
        self._closed.wait(LOOK_SECONDS)
        return True

    def _make(self, request: CacheRequest, found: Make) -> CacheAnswer:
        if (cached := self._local.find(request.kind, request.fingerprint)) is None:
            return self._empty(request, found.prefix)
        # Evicted for all, but not here.
        self._uploads.publish(request.fingerprint, found.prefix, cached.folder, cached.seconds)
        return self._lend(request.fingerprint, cached.folder, cached.seconds)

    def _fetch(self, request: CacheRequest, found: Have) -> CacheAnswer | None:
        """None where its files are gone or broken, which is then known to all; of a store that is away, nothing is."""
        try:
            entry = self._local.get(
                request.kind, request.fingerprint, partial(self._download, request.kind, found.prefix)
            )
        except LayercutError as error:
            if passing(error) is not None:
                log.warning("job %s: %s cannot be fetched: %s", self._lease.job_id, found.prefix, error)
                return self._empty(request)
            log.warning("job %s: %s is not in the cache any more: %s", self._lease.job_id, found.prefix, error)
            self._session.retrying(lambda: self._cache.forget(request.fingerprint, found.prefix))
            return None
        return self._lend(request.fingerprint, entry.folder, found.seconds)

    def _download(self, kind: CacheKind, prefix: str, folder: Path) -> None:
        size = sum(file.bytes for file in self._artifacts.manifest(prefix).files)
        most = KINDS[kind].bytes
        if most is not None and size > most:
            raise Unusable(kind, f"it has {size} bytes, and {most} are taken at most")
        self._artifacts.fetch(prefix, folder)
        check_files(kind, folder)

    def _made(self, request: CacheRequest) -> CacheAnswer:
        fingerprint, seconds = request.fingerprint, request.seconds
        prefix = self._to_make.pop(request.thing)
        try:
            folder = self._local.put(request.kind, fingerprint, partial(self._take_over, request), seconds)
            answer = self._lend(fingerprint, folder, seconds)
        except (OSError, Unusable) as error:
            log.warning("job %s: cannot keep its %s on this host: %s", self._lease.job_id, request.kind, error)
            # The runner's own folder goes with the runner: too soon for an upload.
            if prefix is not None:
                self._uploads.abandon(fingerprint, prefix)
            return CacheAnswer(folder=self._place(fingerprint), made=True, seconds=seconds)
        if prefix is not None:
            self._uploads.publish(fingerprint, prefix, folder, seconds)
        return answer

    def _take_over(self, request: CacheRequest, files: Path) -> None:
        limit, scratch = min(self._local.max_bytes // 2, self._room), self._runner.scratch
        limit = min(limit, KINDS[request.kind].bytes or limit)
        with entered(scratch.folder, scratch.made.name, request.fingerprint) as source, entered(files) as target:
            self._room -= copy_files(source, target, limit=limit, stopped=self._late.is_set)
        check_files(request.kind, files)

    def _tell(self, request: CacheRequest, found: Wait, message: str) -> None:
        said = message.format(kind=request.kind.replace("_", " "), maker=found.job_id or "another job")
        data = LogData(kind=request.kind, fingerprint=request.fingerprint, job_id=found.job_id)
        self._session.write(new_event(EventType.LOG, said, data))

    def _empty(self, request: CacheRequest, prefix: str | None = None) -> CacheAnswer:
        """A folder to make the thing in; what is made goes to ``prefix``."""
        scratch, fingerprint = self._runner.scratch, request.fingerprint
        try:
            with entered(scratch.folder, scratch.made.name) as made, made_folder(made, fingerprint) as folder:
                self._runner.give_folder(folder)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise _violation("put something else in the place of a folder") from error
            raise
        self._to_make[request.thing] = prefix
        return CacheAnswer(folder=self._place(fingerprint), made=False)

    def _lend(self, fingerprint: str, folder: Path, seconds: float) -> CacheAnswer:
        """Have the thing where the runner can read it."""
        shared = self._runner.scratch.shared
        lent, hidden = shared / fingerprint, f".{fingerprint}"
        if not lent.exists():
            remove_tree(shared / hidden)  # of one that failed half way
            with (
                entered(folder.parent, folder.name) as source,
                entered(shared) as room,
                made_folder(room, hidden) as target,
            ):
                link_files(source, target)
            (shared / hidden).rename(lent)
        return CacheAnswer(folder=lent, made=True, seconds=seconds)

    def _place(self, fingerprint: str) -> Path:
        """Where the runner makes it."""
        return self._runner.scratch.made / fingerprint


def _violation(what: str) -> LayercutError:
    """What no sound runner does; another attempt would meet the same."""
    return LayercutError("protocol_violation", f"the runner broke the rules of the cache: it {what}")
