"""Wakes workers through the broker. A wake-up names no job and carries no order: the row in the store is the truth.

Nothing here ever fails or delays a request. One thread sends; what cannot be sent is dropped with a line in the log,
and the reaper announces the job again.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any

import structlog

from store.broker import QUEUE, WAKE, celery_settings, ensure_folders

# One quick second try: a broker that was restarted drops the idle connection, and the next one works.
RETRY = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}

CONNECT_SECONDS = 1.0

log = structlog.get_logger("layercut.queue")


class WakeUps:
    """The sending side of the broker. ``count`` hears of ``sent`` and ``dropped`` ones. Thread-safe."""

    def __init__(self, broker_url: str, count: Callable[[str], None] = lambda outcome: None) -> None:
        self._broker_url, self._count = broker_url, count
        from celery import Celery  # noqa: PLC0415 - to import the gateway is not to start it

        self._celery = Celery("layercut-gateway", set_as_current=False)
        self._celery.conf.update(_impatient(celery_settings(broker_url)))
        self._wanted: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._send_all, name="wake-ups", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Send what is still wanted, for a moment, and end."""
        self._wanted.put(None)
        self._thread.join(timeout=2 * CONNECT_SECONDS)
        self._celery.close()

    def wake(self, count: int = 1) -> None:
        """Have ``count`` wake-ups sent soon. Returns at once."""
        self._wanted.put(count)

    def waiting(self) -> int:
        """Wake-ups that lie in the broker and no worker has taken yet; raises what the broker's client raises."""
        ensure_folders(self._broker_url)
        with self._celery.connection_for_write(connect_timeout=CONNECT_SECONDS) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=CONNECT_SECONDS)
            # Not passive: kombu looks for a Redis queue under its name without `global_keyprefix`, and finds none.
            declared = connection.default_channel.queue_declare(QUEUE, durable=True, auto_delete=False)
            return int(declared.message_count)

    def _send_all(self) -> None:
        while (count := self._wanted.get()) is not None:
            try:
                for _ in range(count):
                    self._send()
            except Exception as error:  # noqa: BLE001 - whatever the transport raises: a lost wake-up is never an error to pass on
                log.warning("broker_unreachable", error=type(error).__name__)
                self._count("dropped")
                if self._forget():
                    return

    def _send(self) -> None:
        ensure_folders(self._broker_url)
        self._celery.send_task(WAKE, queue=QUEUE, ignore_result=True, retry=True, retry_policy=RETRY)
        self._count("sent")

    def _forget(self) -> bool:
        """Drop all that is wanted now, so that a dead broker costs one attempt and not one a job; True to stop."""
        with contextlib.suppress(queue.Empty):
            while True:
                if self._wanted.get_nowait() is None:
                    return True
        return False


def _impatient(settings: dict[str, Any]) -> dict[str, Any]:
    """The shared settings, with the short timeouts of one who only sends."""
    options = dict(settings.get("broker_transport_options") or {})
    if str(settings["broker_url"]).startswith(("redis", "valkey", "sentinel")):
        options |= {"socket_connect_timeout": CONNECT_SECONDS, "socket_timeout": CONNECT_SECONDS}
    return {**settings, "broker_connection_timeout": CONNECT_SECONDS, "broker_transport_options": options}
