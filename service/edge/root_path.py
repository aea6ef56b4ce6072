"""Behind a proxy that serves us below a prefix (``LAYERCUT_ROOT_PATH``), whether it strips the prefix or passes it on.

A path that comes in is one of ours with the prefix in front, or without: what follows the prefix tells. From here on
``scope["path"]`` has it, as ASGI wants, and every address that goes out has it too.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_root: ContextVar[str] = ContextVar("root_path", default="")


def address(path: str) -> str:
    """``path``, as in ``/v1/jobs``, as whoever sent the request at hand reaches it."""
    return _root.get() + path


def own_path(scope: Scope) -> str:
    """The request's path as our routes have it."""
    path: str = scope["path"]
    return path[len(scope.get("root_path", "")) :]


class RootPath:
    """ASGI middleware, the outermost. ``ours`` is what our routes begin with: a prefix may begin as one of
    them does. ``is_ours``: whether a path is one of them.
    """

    def __init__(self, app: ASGIApp, root: str, ours: frozenset[str], is_ours: Callable[[str], bool]) -> None:
        self.app = app
        self._root, self._ours, self._is_ours = root, ours, is_ours

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_below_root(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [self._header(*pair) for pair in message.get("headers", ())]
            await send(message)

        below = {**scope, "root_path": self._root, "path": self._root + self._stripped(scope["path"])}
        token = _root.set(self._root)
        try:
            await self.app(below, receive, send_below_root)
        finally:
            _root.reset(token)

    def _stripped(self, path: str) -> str:
        rest = path.removeprefix(self._root)
        if rest == path or first_part(rest) not in self._ours:
            return path
        # Such as /v1: what is an address of ours as it stands has come without the prefix.
        return path if first_part(self._root) in self._ours and self._is_ours(path) else rest

    def _header(self, name: bytes, value: bytes) -> tuple[bytes, bytes]:
        if name.lower() != b"location" or not value.startswith(b"/"):
            return name, value
        return name, (self._root + self._stripped(value.decode("latin-1"))).encode("latin-1")


def first_part(path: str) -> str:
    """What the path begins with: ``v1`` of ``/v1/jobs``."""
    return path.removeprefix("/").partition("/")[0] if path.startswith("/") else ""
