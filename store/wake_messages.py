"""Wake-ups as they lie in a broker, where anybody may have put anything: what is none is dropped, and harms nobody."""

from __future__ import annotations

import base64
import json
import logging
from typing import Any

from kombu.transport import virtual

from store.broker import QUEUE, WAKE

log = logging.getLogger("layercut.broker")

#: A wake-up has some 900.
MAX_BYTES = 64 * 1024
LONGEST_ID = 200

#: Neither arguments nor callbacks.
_BODY = base64.b64encode(json.dumps([[], {}, {}]).encode()).decode()


class NoWakeUp(ValueError):
    """What lies in the broker is none of ours."""


def read_wake_up(content: bytes) -> dict[str, Any]:
    """The message that ``content`` is; raises ``NoWakeUp``."""
    if len(content) > MAX_BYTES:
        raise NoWakeUp(f"it has more than {MAX_BYTES} bytes")
    try:
        return sound(json.loads(content))
    except (ValueError, RecursionError) as error:
        raise error if isinstance(error, NoWakeUp) else NoWakeUp("it is no JSON") from error


def sound(payload: Any) -> dict[str, Any]:
    """The same wake-up, made anew: of what came, only its two ids count. Raises ``NoWakeUp``."""
    task, id_ = _at(payload, "headers", "task"), _at(payload, "headers", "id")
    tag = _at(payload, "properties", "delivery_tag")
    if task != WAKE:
        raise NoWakeUp(f"it is for {str(task)[:80]!r}")
    if not all(isinstance(name, str) and 0 < len(name) <= LONGEST_ID for name in (id_, tag)):
        raise NoWakeUp("it has no id")
    return {
        "body": _BODY,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"lang": "py", "task": WAKE, "id": id_},
        "properties": {
            "body_encoding": "base64",
            "delivery_tag": tag,
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
        },
    }


def dropped(error: Exception) -> None:
    """Say that a message was dropped."""
    why = error if isinstance(error, NoWakeUp) else type(error).__name__
    log.warning("a message in the broker is no wake-up, and is dropped: %s", why)


class Message(virtual.Message):
    """A message of a broker's transport, checked before it is one. Raises ``NoWakeUp``."""

    def __init__(self, payload: Any, channel: Any = None, **kwargs: Any) -> None:
        super().__init__(sound(payload), channel=channel, **kwargs)  # type: ignore[no-untyped-call]


def _at(payload: Any, *names: str) -> Any:
    for name in names:
        payload = payload.get(name) if isinstance(payload, dict) else None
    return payload
