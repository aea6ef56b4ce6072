"""What both clients do with httpx alike."""

from __future__ import annotations

from typing import Any

import httpx

from layercut.client.errors import Broken, InvalidAnswer
from layercut.client.steps import Answer, Request

#: Of an answer that is read whole; a page of a hundred jobs has some.
MOST_BYTES = 64 * 2**20

#: What httpx raises where no answer came, or not all of it.
LOST = httpx.RequestError


def sent(http: httpx.Client | httpx.AsyncClient, request: Request) -> httpx.Request:
    timeout: Any = httpx.USE_CLIENT_DEFAULT
    if request.silence is not None:
        timeout = httpx.Timeout(request.silence, connect=http.timeout.connect)
    return http.build_request(
        request.method,
        request.path,
        headers=dict(request.headers),
        params=dict(request.params) or None,
        content=request.content,
        timeout=timeout,
    )


def follows(request: Request) -> bool:
    """Whether it may be sent elsewhere: an object store may have the file, and gets no key of ours."""
    return request.method in ("GET", "HEAD")


def begun(request: Request, response: httpx.Response, body: bytes = b"") -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(request, response.status_code, headers, body)


class Body:
    """Of an answer that is read whole."""

    def __init__(self, request: Request) -> None:
        self._request, self._blocks, self._size = request, list[bytes](), 0

    def add(self, block: bytes) -> None:
        """Raises ``InvalidAnswer`` for more than is read."""
        self._blocks.append(block)
        self._size += len(block)
        if self._size > MOST_BYTES:
            raise InvalidAnswer(f"{self._request}: the answer has more than {MOST_BYTES} bytes")

    @property
    def content(self) -> bytes:
        return b"".join(self._blocks)


def lost(error: Exception) -> Broken:
    """In words: httpx says nothing at all of a silence."""
    return Broken(str(error) or f"no answer came in time ({type(error).__name__})")
