"""Streams over the wire as a browser reads them, and a store that counts what a feed asks it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from api_schemas.events import EventType
from service.state import GatewayState
from tests.support.events import say

STREAM = {"Accept": "text/event-stream"}


def messages(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    """The stream's messages as a browser reads them; comments are under the key ``""``."""
    message: dict[str, str] = {}
    for line in lines:
        if line:
            key, _, value = line.partition(":")
            message[key] = value.strip()
        elif message:
            yield message
            message = {}


def finish(state: GatewayState, taken: Any) -> None:
    error = {"code": "export_failed", "message": "it broke"}
    state.store.finish(taken.lease, say(EventType.FAILED, "it broke", error=error))


class Counted:
    """The store, with a count of the questions that the feed asks it."""

    def __init__(self, state: GatewayState) -> None:
        self._store = state.store
        self.asked: dict[str, int] = {"heads": 0, "events": 0, "log": 0}
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        def ask(*args: Any) -> Any:
            with self._lock:
                self.asked[name] += 1
            return getattr(self._store, name)(*args)

        return ask
