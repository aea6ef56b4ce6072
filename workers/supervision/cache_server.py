"""Answers what a runner asks of the cache: fetches what is there, has one make what is not, waits while another does.

The cache spares work and is no part of it: where it fails, the runner makes the thing for itself and the job goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from api_schemas.errors import LayercutError
from api_schemas.events import EventType, LogData, new_event
from store.artifacts import ArtifactStore
from store.cache import CacheStore, Have, Make, Wait
from store.jobs import Lease
from workers.cache.folder import FolderCache
from workers.protocol import CacheAnswer, CacheRequest
from workers.supervision.lease_session import LeaseSession
from workers.supervision.links import link_tree
from workers.supervision.runner_process import RunnerProcess

log = logging.getLogger("layercut.cache")

#: How often a maker that is waited for is looked at.
LOOK_SECONDS = 0.5


class CacheServer:
    """Of one attempt. Each request is seen to in a thread of its own: the attempt must stay able to kill the runner.

    ``local`` is this host's own cache, of what was made here or fetched.
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
    ) -> None:
        self._lease, self._runner, self._session = lease, runner, session
        self._cache, self._artifacts, self._local = cache, artifacts, local
        #: Where the files go of what the runner is making for all, by fingerprint.
        self._making: dict[str, str] = {}
        self._closed = threading.Event()
        self._threads: list[threading.Thread] = []

    def handle(self, request: CacheRequest) -> None:
        self._start({"want": self._want, "made": self._made}[request.cache], request)

    def close(self, seconds: float | None) -> None:
        """The runner is gone: wait for nobody any more, and finish publishing what it made, within ``seconds``."""
        self._closed.set()
        deadline = None if seconds is None else time.monotonic() + seconds
        for thread in self._threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))

    def _start(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, name="cache", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _want(self, request: CacheRequest) -> None:
        try:
            answer = self._find(request)
        except Exception:
            log.exception("job %s: the cache fails; the job makes its %s itself", self._lease.job_id, request.kind)
            answer = self._empty(request)
        self._runner.answer(answer)

    def _find(self, request: CacheRequest) -> CacheAnswer:
        waits_for = None
        while not self._closed.is_set():
            found = self._session.retrying(lambda: self._cache.take(self._lease, request.kind, request.fingerprint))
            if isinstance(found, Make):
                return self._make(request, found)
            if isinstance(found, Have) and (answer := self._fetch(request, found)):
                return answer
            if isinstance(found, Wait):
                if found.job_id != waits_for:
                    waits_for = found.job_id
                    self._tell_waiting(request, found)
                self._closed.wait(LOOK_SECONDS)
        return self._empty(request)

    def _make(self, request: CacheRequest, found: Make) -> CacheAnswer:
        if found.lost:
            self._delete(found.lost)
        if (cached := self._local.find(request.kind, request.fingerprint)) is None:
            self._making[request.fingerprint] = found.prefix
            return self._empty(request)
        # Evicted for all, but not here.
        self._start(self._publish, request.fingerprint, found.prefix, cached.folder, cached.seconds)
        return self._lend(request.fingerprint, cached.folder, cached.seconds)

    def _fetch(self, request: CacheRequest, found: Have) -> CacheAnswer | None:
        """None where its files are gone or broken, which is then known to all."""
        try:
            entry = self._local.get(
                request.kind, request.fingerprint, lambda folder: self._artifacts.fetch(found.prefix, folder)
            )
        except LayercutError as error:
            log.warning("job %s: %s is not in the cache any more: %s", self._lease.job_id, found.prefix, error)
            self._session.retrying(lambda: self._cache.forget(request.fingerprint, found.prefix))
            self._delete(found.prefix)
            return None
        return self._lend(request.fingerprint, entry.folder, found.seconds)

    def _made(self, request: CacheRequest) -> None:
        kind, fingerprint, seconds = request.kind, request.fingerprint, request.seconds
        prefix = self._making.pop(fingerprint, None)
        folder = self._place(fingerprint)
        try:
            folder = self._local.put(kind, fingerprint, folder, seconds)
            answer = self._lend(fingerprint, folder, seconds)
        except OSError:
            log.exception("job %s: cannot keep its %s on this host", self._lease.job_id, kind)
            # The runner's own folder goes with the runner: too soon for an upload.
            if prefix is not None:
                self._start(self._abandon, fingerprint, prefix)
            prefix, answer = None, CacheAnswer(folder=folder, made=True, seconds=seconds)
        # First the answer: the runner has other things to do than to wait for an upload.
        self._runner.answer(answer)
        if prefix is not None:
            self._publish(fingerprint, prefix, folder, seconds)

    def _publish(self, fingerprint: str, prefix: str, folder: Path, seconds: float) -> None:
        try:
            size = sum(file.bytes for file in self._artifacts.publish(prefix, folder).files)
            if not self._session.retrying(
                lambda: self._cache.made(self._lease, fingerprint, seconds=seconds, size=size)
            ):
                self._delete(prefix)
        except Exception:
            log.exception("job %s: cannot put %s in the cache", self._lease.job_id, prefix)
            self._abandon(fingerprint, prefix)

    def _abandon(self, fingerprint: str, prefix: str) -> None:
        try:
            self._session.retrying(lambda: self._cache.abandon(self._lease, fingerprint))
        except Exception:  # the end of the attempt will say the same
            log.warning("job %s: cannot give up %s", self._lease.job_id, prefix, exc_info=True)
        self._delete(prefix)

    def _delete(self, prefix: str) -> None:
        try:
            self._artifacts.delete(prefix)
        except Exception:  # files that nobody will ask for
            log.warning("job %s: cannot delete %s", self._lease.job_id, prefix, exc_info=True)

    def _tell_waiting(self, request: CacheRequest, found: Wait) -> None:
        what = request.kind.replace("_", " ")
        data = LogData(kind=request.kind, fingerprint=request.fingerprint, job_id=found.job_id)
        message = f"waiting for the {what} that {found.job_id} is making"
        self._session.write(new_event(EventType.LOG, message, data))

    def _empty(self, request: CacheRequest) -> CacheAnswer:
        folder = self._place(request.fingerprint)
        folder.mkdir(parents=True, exist_ok=True)
        self._runner.give_folder(folder)
        return CacheAnswer(folder=folder, made=False)

    def _lend(self, fingerprint: str, folder: Path, seconds: float) -> CacheAnswer:
        """Have the thing where the runner can read it."""
        lent = self._runner.scratch.shared / fingerprint
        if not lent.exists():
            link_tree(folder, lent)
        return CacheAnswer(folder=lent, made=True, seconds=seconds)

    def _place(self, fingerprint: str) -> Path:
        """Where the runner makes it; on the disk of the local cache, which takes it by renaming."""
        return self._runner.scratch.made / fingerprint
