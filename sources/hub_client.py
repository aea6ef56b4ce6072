"""What the hub may do to its client: where it may send it, and how much and how long it may answer.

It may send it to no address inside, such as loopback or a cloud's metadata service.

The hub's own address is the choice of whoever runs the service (`HF_ENDPOINT`), and may be inside. Each redirect is
looked at. The name is resolved here and once more by the client: a name server that gives two answers is not seen.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import httpx2
from huggingface_hub import constants, set_client_factory
from huggingface_hub.utils._http import default_client_factory

from api_schemas.errors import LayercutError

#: Of an answer that is no file: a repository's description, or the header of its weights.
MAX_ANSWER = 64 * 2**20

#: Called after each piece of an answer; it raises when nothing is to come any more. Not of downloads.
_in_time: ContextVar[Callable[[], object] | None] = ContextVar("in_time", default=None)


@contextmanager
def bounded(in_time: Callable[[], object]) -> Iterator[None]:
    """Within, answers have at most ``MAX_ANSWER`` bytes, and ``in_time`` is called after each piece."""
    token = _in_time.set(in_time)
    try:
        yield
    finally:
        _in_time.reset(token)


class BoundedStream(httpx2.SyncByteStream):
    """Raises ``model_invalid`` where the answer goes on beyond ``MAX_ANSWER``."""

    def __init__(self, stream: httpx2.SyncByteStream, in_time: Callable[[], object]) -> None:
        self._stream, self._in_time = stream, in_time

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for piece in self._stream:
            size += len(piece)
            if size > MAX_ANSWER:
                raise LayercutError(
                    "model_invalid", f"the hub's answer has more than {MAX_ANSWER} bytes", param="/model"
                )
            self._in_time()
            yield piece

    def close(self) -> None:
        self._stream.close()


def _bound(response: httpx2.Response) -> None:
    in_time = _in_time.get()
    if in_time is not None and isinstance(response.stream, httpx2.SyncByteStream):
        response.stream = BoundedStream(response.stream, in_time)


def guard_client(allowed: Sequence[str]) -> None:
    """Have the hub's client, in this process, keep to what is said above; hosts ``allowed`` may be inside."""

    def check(request: httpx2.Request) -> None:
        check_address(request.url, allowed)

    def guarded() -> httpx2.Client:
        client = default_client_factory()
        hooks = client.event_hooks
        client.event_hooks = {
            "request": [*hooks.get("request", []), check],
            "response": [*hooks.get("response", []), _bound],
        }
        return client

    set_client_factory(guarded)


def check_address(url: httpx2.URL, allowed: Sequence[str]) -> None:
    """Raise ``model_not_allowed`` for a host inside that is neither the hub's own nor ``allowed``."""
    hub = httpx2.URL(constants.ENDPOINT)
    if (url.host, url.port) == (hub.host, hub.port) or url.host in allowed:
        return
    if any(not ipaddress.ip_address(address).is_global for address in _addresses(url.host)):
        text = (
            f"the hub sends its client to {url.host!r}, an address inside; LAYERCUT_HUB_HOSTS names those that it may"
        )
        raise LayercutError("model_not_allowed", text, param="/model")


def _addresses(host: str) -> list[str]:
    """None where it cannot be resolved: then nothing is reached either, or a proxy resolves it."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(address[0]).partition("%")[0] for *_, address in found]
