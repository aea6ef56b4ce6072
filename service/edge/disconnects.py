"""Whether the client is still there while its request is worked on."""

from __future__ import annotations

from fastapi import Request


async def gone(request: Request) -> None:
    """Return when the client of ``request``, whose body was read, has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
