"""What may lie in a broker and is no wake-up."""

from __future__ import annotations

import json
from typing import Any

from store.broker import WAKE


def _message(**changes: Any) -> bytes:
    """A wake-up but for ``changes``."""
    sound = {
        "body": "W1tdLCB7fSwge31d",
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": WAKE, "id": "1"},
        "properties": {"delivery_tag": "1", "delivery_info": {}, "body_encoding": "base64"},
    }
    return json.dumps(sound | changes).encode()


NO_WAKE_UPS = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"17",
    b"{}",
    b"\xff\xfe\x00binary",
    b"[" * 10_000,
    _message(headers=None),
    _message(headers={"task": "os.system", "id": "1"}),
    _message(headers={"task": WAKE, "id": None}),
    _message(headers={"task": WAKE, "id": "1" * 300}),
    _message(headers={"task": [WAKE], "id": "1"}),
    _message(properties=None),
    _message(properties={"delivery_tag": {}}),
]
