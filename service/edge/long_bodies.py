"""Bodies that may take as long as they go on: an ASGI extension of ours, for routes that have let their caller in.

All other bodies are small, and have their time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from uvicorn._types import ASGI3Application

#: The name of the extension: a call without arguments, for the request at hand.
LONG_BODY = "layercut.long_body"


def offering(app: ASGI3Application, allow: Callable[[], None]) -> ASGI3Application:
    """The application, which may call ``allow`` then."""

    async def offered(scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("extensions", {})[LONG_BODY] = allow
        await app(scope, receive, send)

    return offered


def allow_long_body(scope: Any) -> None:
    """Where the server has no such bound, there is nothing to allow."""
    allow = scope.get("extensions", {}).get(LONG_BODY)
    if allow is not None:
        allow()
