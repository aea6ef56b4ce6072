"""kombu's Redis transport, which anything in the queue's list that is no message ends, with its worker."""

from __future__ import annotations

from queue import Empty
from typing import Any

from kombu.transport import redis

from store.wake_messages import Message, dropped

#: What kombu meets in it: no JSON, no UTF-8, no object, no wake-up.
_BROKEN = (ValueError, TypeError, AttributeError, RecursionError)


class Channel(redis.Channel):
    """Drops what is no wake-up: it has left the list by then."""

    Message = Message

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except _BROKEN as error:
            dropped(error)
            raise Empty from error

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        while True:
            try:
                return super()._get(queue)  # type: ignore[no-untyped-call]
            except _BROKEN as error:
                dropped(error)


class Transport(redis.Transport):
    Channel = Channel
