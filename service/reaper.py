"""The thread that mends: jobs whose worker was lost, jobs that waited too long, wake-ups that the broker lost,
files of attempts that came to nothing, what the cache has no room for, the audit log.

Every gateway runs one; the store makes it safe in many at once.
"""

from __future__ import annotations

import threading
from dataclasses import asdict

import structlog

from service.failures import log_failure
from service.state import GatewayState

log = structlog.get_logger("layercut.reaper")


class Reaper(threading.Thread):
    def __init__(self, state: GatewayState) -> None:
        super().__init__(name="reaper", daemon=True)
        self._state = state
        self._ended = threading.Event()

    def run(self) -> None:
        while True:
            for step in (self.reap, self.wake_again, self.sweep, self.clear_cache, self.keep_audit):
                try:
                    step()
                except Exception as error:  # noqa: BLE001 - the next round tries again
                    log_failure(log, "reaper_failed", error, step=step.__name__)
            if self._ended.wait(self._state.settings.reap_seconds):
                return

    def stop(self) -> None:
        self._ended.set()
        self.join(timeout=5)

    def reap(self) -> None:
        """Take back the jobs of lost workers; fail those that waited too long."""
        changed = {became: ids for became, ids in asdict(self._state.store.reap()).items() if ids}
        if changed:
            log.warning("reaped", **changed)
        for became, ids in changed.items():
            self._state.metrics.count_reaped(became, len(ids))

    def wake_again(self) -> None:
        """Announce jobs again, as many as are missing: while all workers are busy, wake-ups lie in the broker."""
        due = self._state.store.due_wakeups(self._state.settings.wake_again_seconds)
        if not due:
            return
        try:
            missing = due - self._state.wakeups.waiting()
        except Exception as error:  # noqa: BLE001 - whatever the transport raises; a later round asks again
            log.warning("broker_unreachable", error=type(error).__name__, jobs=due)
            return
        if missing > 0:
            log.info("waking_again", jobs=missing)
            self._state.wakeups.wake(missing)

    def sweep(self) -> None:
        """Delete the files of attempts that lost."""
        for job_id, winner in self._state.store.unswept(self._state.settings.sweep_after_seconds):
            files = self._state.artifacts.sweep(job_id, winner)
            self._state.store.mark_swept(job_id)
            if files:
                log.info("swept", job_id=job_id, files=files)

    def clear_cache(self) -> None:
        """Delete what was not used for longest where the cache is full, and what lost makers left."""
        for prefix in self._state.cache.evict(self._state.settings.cache_bytes):
            self._state.artifacts.delete(prefix)
            log.info("cleared_from_cache", prefix=prefix)

    def keep_audit(self) -> None:
        """Write down who was refused since the last round, in few lines; delete those that are old."""
        self._state.audit.refused(self._state.authenticator.refusals())
        self._state.audit.trim(self._state.settings.audit_days)
