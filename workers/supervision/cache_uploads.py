"""Puts what an attempt made for the cache into the artifact store, while its runner goes on."""

from __future__ import annotations

import logging
import threading
from functools import partial
from pathlib import Path

from store.artifacts import ArtifactStore
from store.cache import CacheStore
from store.jobs import Lease
from workers.supervision.lease_session import LeaseSession
from workers.supervision.retries import persist, untold
from workers.supervision.serial_thread import SerialThread

log = logging.getLogger("layercut.cache")

#: How long the store may be away; then the thing is not for all.
AWAY_SECONDS = 300.0


class CacheUploads:
    """Of one attempt. A failure costs only the thing: it is then made again by whoever asks next."""

    def __init__(self, lease: Lease, session: LeaseSession, cache: CacheStore, artifacts: ArtifactStore) -> None:
        self._lease, self._session, self._cache, self._artifacts = lease, session, cache, artifacts
        self._thread = SerialThread("cache-uploads")
        self._ending, self._stopped = threading.Event(), threading.Event()
        self._prefixes: set[str] = set()

    def publish(self, fingerprint: str, prefix: str, folder: Path, seconds: float) -> None:
        """Have the files of ``folder``, of the cache of this host, at ``prefix`` soon, for all."""
        # The second would find the thing made, and take its files for ones that nobody asks for.
        if prefix not in self._prefixes:
            self._prefixes.add(prefix)
            self._thread.put(partial(self._publish, fingerprint, prefix, folder, seconds))

    def abandon(self, fingerprint: str, prefix: str) -> None:
        """Nothing will come to ``prefix``: another may make the thing."""
        self._thread.put(partial(self._abandon, fingerprint, prefix))

    def finish(self, seconds: float | None) -> None:
        """Wait for what is to be uploaded, no longer than ``seconds``; nothing more is, not even what is half sent."""
        self._ending.set()
        self._thread.finish(seconds)
        self._stopped.set()

    def _publish(self, fingerprint: str, prefix: str, folder: Path, seconds: float) -> None:
        try:
            manifest = persist(
                lambda: self._artifacts.publish(prefix, folder, stopped=self._stopped.is_set),
                self._wait,
                f"job {self._lease.job_id}: the cache's {prefix}",
                tell=untold,
                seconds=AWAY_SECONDS,
            )
            size = sum(file.bytes for file in manifest.files)
            if not self._session.retrying(
                lambda: self._cache.made(self._lease, fingerprint, seconds=seconds, size=size)
            ):
                self._abandon(fingerprint, prefix)
        except Exception:
            log.exception("job %s: cannot put %s in the cache", self._lease.job_id, prefix)
            self._abandon(fingerprint, prefix)

    def _wait(self, seconds: float) -> bool:
        """The end of the attempt is waited for at most: then there is one more try, and the job is over without it."""
        if self._ending.is_set():
            return True
        self._ending.wait(seconds)
        return False

    def _abandon(self, fingerprint: str, prefix: str) -> None:
        try:
            self._session.retrying(lambda: self._cache.abandon(self._lease, fingerprint, prefix))
        except Exception:  # the end of the attempt will say the same
            log.warning("job %s: cannot give up %s", self._lease.job_id, prefix, exc_info=True)
