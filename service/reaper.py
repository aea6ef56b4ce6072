"""The threads that mend: jobs whose worker was lost, jobs that waited too long, wake-ups that the broker lost, rows and
files whose time is over, what the cache has no room for, the audit log.

Every gateway runs them; the store makes them safe in many at once. What waits for the artifact store has a thread of
its own: a store that hangs must not keep jobs from being taken back. So have studies, which are fed to the queue.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

import structlog

from service.failures import log_failure
from service.retention import FILE_STEPS, ROW_STEPS, Step
from service.settings import GatewaySettings
from service.state import GatewayState
from service.studies.feeding import feed_studies

log = structlog.get_logger("layercut.reaper")


def reap(state: GatewayState) -> None:
    """Take back the jobs of lost workers; fail those that waited too long."""
    changed = {became: ids for became, ids in asdict(state.store.reap()).items() if ids}
    if changed:
        log.warning("reaped", **changed)
    for became, ids in changed.items():
        state.metrics.count_reaped(became, len(ids))


def wake_again(state: GatewayState) -> None:
    """Announce jobs again, as many as are missing: while all workers are busy, wake-ups lie in the broker."""
    due = state.store.due_wakeups(state.settings.wake_again_seconds)
    if not due:
        return
    try:
        missing = due - state.wakeups.waiting()
    except Exception as error:  # noqa: BLE001 - whatever the transport raises; a later round asks again
        log.warning("broker_unreachable", error=type(error).__name__, jobs=due)
        return
    if missing > 0:
        log.info("waking_again", jobs=missing)
        state.wakeups.wake(missing)


def keep_keys(state: GatewayState) -> None:
    """Of requests that are under way here."""
    state.idempotency.renew()


def keep_audit(state: GatewayState) -> None:
    """Write down who was refused since the last round, in few lines; delete those that are old."""
    state.audit.refused(state.authenticator.refusals())
    state.audit.trim(state.settings.audit_days)


def clear_cache(state: GatewayState) -> None:
    """Delete what was not used for longest where the cache is full, and what lost makers left."""
    for prefix in state.cache.evict(state.settings.cache_bytes):
        try:
            state.artifacts.delete(prefix)
        except Exception as error:  # noqa: BLE001 - whatever the store raises: the others go all the same
            log.warning("not_cleared_from_cache", prefix=prefix, error=f"{type(error).__name__}: {error}"[:500])
            state.cache.put_off(prefix)
        else:
            state.cache.deleted(prefix)
            log.info("cleared_from_cache", prefix=prefix)


#: By the thread that does them, in turn.
STEPS: dict[str, tuple[Step, ...]] = {
    "reaper": (keep_keys, reap, wake_again, *ROW_STEPS, keep_audit),
    "sweeper": (*FILE_STEPS, clear_cache),
    "studies": (feed_studies,),
}

#: How often, by the thread; by default as often as expired leases are looked for.
PERIODS: dict[str, Callable[[GatewaySettings], float]] = {"studies": lambda settings: settings.study_seconds}


class Reaper:
    def __init__(self, state: GatewayState) -> None:
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._run, args=(state, steps, _period(name, state.settings)), name=name, daemon=True
            )
            for name, steps in STEPS.items()
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(timeout=5)

    def _run(self, state: GatewayState, steps: Sequence[Step], seconds: float) -> None:
        due = dict.fromkeys(steps, 0.0)
        while not self._ended.is_set():
            for step in (step for step in steps if due[step] <= time.monotonic()):
                try:
                    due[step] = time.monotonic() + (step(state) or 0.0)
                except Exception as error:  # noqa: BLE001 - the next round tries again
                    log_failure(log, "reaper_failed", error, step=step.__name__)
            self._ended.wait(seconds)


def _period(thread: str, settings: GatewaySettings) -> float:
    return PERIODS[thread](settings) if thread in PERIODS else settings.reap_seconds
