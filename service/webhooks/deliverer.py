"""The thread that delivers: it takes messages that are due, and has each sent by a thread of its own.

Every gateway runs one; the store gives no message to two of them at a time. A gateway that is killed in the middle
leaves what it took to be taken again once its hold has passed: messages come at least once, and in no promised order.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter

import structlog

from service.failures import log_failure
from service.settings import GatewaySettings
from service.webhooks.sender import Sender
from service.webhooks.signing import Signer
from store.deliveries import MOST_WAITING, Busy, DeliveryStore, Due, Lane, Settled
from store.webhooks import OTHER_KEY
from telemetry.gateway_metrics import GatewayMetrics

log = structlog.get_logger("layercut.webhooks")

#: Messages under way at a time: in all, to one address of a tenant, and of a tenant.
MOST, MOST_OF_LANE, MOST_OF_TENANT = 32, 4, 16
#: How often the store is asked; and how often for what waits for another key, or is too much.
POLL_SECONDS, UPKEEP_SECONDS = 1.0, 60.0
#: Beyond the time that an endpoint has: resolving its name is not within that.
HOLD_SECONDS = 60.0
#: How much longer a pause may be, by chance.
JITTER = 0.1
#: Those that are under way when the gateway stops have so long.
STOP_SECONDS = 5.0

LEVELS: dict[Settled, int] = {
    "delivered": logging.INFO,
    "retried": logging.INFO,
    "failed": logging.WARNING,
    "disabled": logging.WARNING,
}


class Deliverer(threading.Thread):
    def __init__(
        self, settings: GatewaySettings, store: DeliveryStore, signer: Signer, sender: Sender, metrics: GatewayMetrics
    ) -> None:
        super().__init__(name="webhooks", daemon=True)
        self._store, self._signer, self._sender, self._metrics = store, signer, sender, metrics
        self._hold = settings.webhook_seconds + HOLD_SECONDS
        self._ended, self._free = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        #: What is under way: of which lane, by the thread that sends it.
        self._sending: dict[threading.Thread, Lane] = {}
        self._upkeep_at = 0.0

    def run(self) -> None:
        while True:
            self._free.clear()
            if self._ended.is_set():
                return
            try:
                more = self._look()
            except Exception as error:  # noqa: BLE001 - the next look tries again
                log_failure(log, "webhooks_failed", error)
                more = False
            if not more:
                self._free.wait(POLL_SECONDS)

    def stop(self) -> None:
        """No more are taken. What is under way has some seconds; what needs more comes again later."""
        self._ended.set()
        self._free.set()
        self.join(timeout=STOP_SECONDS)
        end = time.monotonic() + STOP_SECONDS
        for thread in self._threads():
            thread.join(timeout=max(0.0, end - time.monotonic()))

    def test(self, webhook_id: str, tenant: str) -> Due:
        """Send a test message, in the caller's thread, once. Raises as ``DeliveryStore.claim_test``."""
        due = self._store.claim_test(webhook_id, tenant, self._signer.fingerprint, self._hold)
        self._deliver(due, again=False)
        return due

    def _look(self) -> bool:
        """Take what is due; whether there may be more that could be sent now."""
        if not self._store.any_due():
            return False
        self._upkeep()
        with self._lock:
            busy = Busy(Counter(self._sending.values()), MOST_OF_LANE, MOST_OF_TENANT)
            free = MOST - len(self._sending)
        taken = self._store.claim(self._signer.fingerprint, busy, free, self._hold) if free else []
        for due in taken:
            self._start(due)
        return bool(taken)

    def _start(self, due: Due) -> None:
        # Of its own, and a daemon: one that waits for an endpoint or a name server does not hold up the process's end.
        thread = threading.Thread(target=self._send, args=(due,), name=f"webhook-{due.id}", daemon=True)
        with self._lock:
            self._sending[thread] = due.lane
        try:
            thread.start()
        except RuntimeError:  # the host has no thread to give
            self._done(thread)
            self._store.give_back(due)
            raise

    def _send(self, due: Due) -> None:
        try:
            self._deliver(due)
        except Exception as error:  # noqa: BLE001 - what it was to write down is lost: its hold passes, and it is sent again
            log_failure(log, "webhook_not_settled", error, delivery=due.id)
        finally:
            self._done(threading.current_thread())

    def _deliver(self, due: Due, *, again: bool = True) -> None:
        outcome = self._sender.send(due)
        stretch = 1 + JITTER * random.random()
        settled = self._store.settle(due, outcome, stretch=stretch, again=again)
        if settled is None:  # another gateway has it by now, and tells
            return
        self._metrics.on_delivery(settled)
        log.log(
            LEVELS[settled], "webhook", delivery=due.id, webhook_id=due.webhook_id, attempt=due.attempt, became=settled,
            status=outcome.status, error=outcome.error,
        )  # fmt: skip

    def _done(self, thread: threading.Thread) -> None:
        with self._lock:
            self._sending.pop(thread, None)
        self._free.set()

    def _threads(self) -> list[threading.Thread]:
        with self._lock:
            return list(self._sending)

    def _upkeep(self) -> None:
        """What no gateway with this key can sign must not be looked at each second, nor may any number wait for an
        endpoint that takes none; both are told.
        """
        if time.monotonic() < self._upkeep_at:
            return
        self._upkeep_at = time.monotonic() + UPKEEP_SECONDS
        count = self._store.put_off(self._signer.fingerprint)
        if count:
            log.warning("webhooks_put_off", count=count, reason=OTHER_KEY)
        given_up = self._store.bound_waiting(MOST_WAITING)
        if given_up:
            log.warning("webhooks_given_up", count=given_up, most=MOST_WAITING)
