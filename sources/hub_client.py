"""What the hub may do to its client: where it may send it, what it may say, and how much and how long it may answer.

It may send it to no address inside, such as loopback or a cloud's metadata service. The hub's own address is the choice
of whoever runs the service (`HF_ENDPOINT`), and may be inside. Each redirect is looked at. The name is resolved here
and once more by the client: a name server that gives two answers is not seen.

Every answer has a limit of bytes, redirects and errors too, and within ``bounded`` a clock for all of it.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import httpcore2
import httpx2
from huggingface_hub import constants, set_client_factory
from huggingface_hub.utils._http import default_client_factory

from api_schemas.errors import LayercutError

#: Of an answer that is no file: a repository's description, a small file, or the header of weights.
MAX_ANSWER = 64 * 2**20
#: Of one that only says why there is none, or where it is.
MAX_ERROR = 2**20
#: The hub's own window for counting requests has five minutes.
LONGEST_PAUSE = 300

# The client makes file names of them.
ETAG = re.compile(r"[0-9A-Za-z][0-9A-Za-z._+=:~-]{0,127}")
COMMIT = re.compile(r"[0-9a-f]{40}")


class Unreachable(Exception):
    """The hub did not answer, in time or at all, or must not be asked; and the cache does not hold what is wanted."""


class Deadline:
    """Seconds left, for several requests that share one limit."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Raises ``Unreachable`` when nothing is."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise Unreachable("the hub took too long")
        return left


@dataclass(frozen=True)
class Bounds:
    """Of each answer, in ``bytes`` (None: ``MAX_ANSWER``), and of all of them together, in time."""

    bytes: int | None = None
    deadline: Deadline | None = None


_bounds: ContextVar[Bounds] = ContextVar("bounds", default=Bounds())  # noqa: B039 - it is frozen


@contextmanager
def bounded(deadline: Deadline, most: int | None = None) -> Iterator[None]:
    """Within, in this thread, answers have at most ``most`` bytes (default ``MAX_ANSWER``), and end by ``deadline``."""
    token = _bounds.set(Bounds(most, deadline))
    try:
        yield
    finally:
        _bounds.reset(token)


def _seconds(timeout: float | None) -> float | None:
    """What is left of ``timeout`` and of the deadline; raises ``Unreachable`` where nothing is."""
    deadline = _bounds.get().deadline
    if deadline is None:
        return timeout
    return deadline.left if timeout is None else min(timeout, deadline.left)


class TimedStream(httpcore2.NetworkStream):
    """A connection on which each read and write has what is left until the deadline.

    The client has a time for each read alone: a hub that sends one byte of a head every few seconds would never end.
    """

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _seconds(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _seconds(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return TimedStream(self._stream.start_tls(ssl_context, server_hostname, _seconds(timeout)))

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


class TimedBackend(httpcore2.NetworkBackend):
    """Connections that are ``TimedStream``, to the addresses that ``resolve`` has for a host. Each has what is left of
    the time, not the whole.
    """

    def __init__(self, backend: httpcore2.NetworkBackend, resolve: Callable[[str], list[str]] | None = None) -> None:
        self._backend = backend
        self._resolve = resolve or addresses_of

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        options = list(socket_options or ())
        failed: Exception = httpcore2.ConnectError(f"{host!r} has no address")
        for address in self._resolve(host):
            try:
                stream = self._backend.connect_tcp(address, port, _seconds(timeout), local_address, options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failed = error
            else:
                return TimedStream(stream)
        raise failed


class BoundedStream(httpx2.SyncByteStream):
    """Raises ``error`` where the answer goes on beyond ``most`` bytes."""

    def __init__(self, stream: httpx2.SyncByteStream, most: int, error: Exception) -> None:
        self._stream, self._most, self._error = stream, most, error

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for piece in self._stream:
            size += len(piece)
            if size > self._most:
                raise self._error
            yield piece

    def close(self) -> None:
        self._stream.close()


def guard_client(allowed: Sequence[str]) -> None:
    """Have the hub's client, in this process, keep to what is said above; hosts ``allowed`` may be inside."""
    # Its downloads by Xet are a library of their own, which goes wherever the hub's headers say.
    constants.HF_HUB_DISABLE_XET = True

    def guarded() -> httpx2.Client:
        client = default_client_factory()
        hooks = client.event_hooks
        client.event_hooks = {
            "request": [*hooks.get("request", []), _ask_plainly, lambda request: check_address(request.url, allowed)],
            "response": [_check_head, _bound, *hooks.get("response", [])],
        }
        for transport in (client._transport, *client._mounts.values()):
            if isinstance(transport, httpx2.HTTPTransport):
                transport._pool._network_backend = TimedBackend(transport._pool._network_backend)
        return client

    set_client_factory(guarded)


def _ask_plainly(request: httpx2.Request) -> None:
    """Bytes are counted as they come: compressed, a thousand times as many would follow."""
    request.headers["Accept-Encoding"] = "identity"


def _check_head(response: httpx2.Response) -> None:
    """Raise ``Unreachable`` for headers by which the client would write, wait or unpack what the hub wants."""
    is_of_file = response.request.method == "HEAD" and not response.is_error
    for name, (is_fine, right) in HEADERS.items():
        value = response.headers.get(name)
        if value is None or is_fine(value):
            continue
        if name in ETAGS and not is_of_file:
            # Nobody's name: an answer that is no file's may well have a slash in it.
            del response.headers[name]
        else:
            raise Unreachable(f"its answer has {name}: {value[:100]!r}, which must be {right}")


def _is_etag(value: str) -> bool:
    # As the client strips it: W.., say, would become a name that climbs.
    return ETAG.fullmatch(value.lstrip("W/").strip('"')) is not None


def _is_pause(value: str) -> bool:
    """Seconds; or a date, which the client does not heed."""
    digits = value.strip()
    return not digits.isdigit() or (digits.isascii() and len(digits) < 4 and int(digits) <= LONGEST_PAUSE)


ETAGS = ("ETag", "X-Linked-Etag")
HEADERS: dict[str, tuple[Callable[[str], bool], str]] = {
    **dict.fromkeys(ETAGS, (_is_etag, "a hash")),
    "X-Repo-Commit": (lambda value: COMMIT.fullmatch(value) is not None, "40 hexadecimal digits"),
    "Content-Encoding": (lambda value: value.strip().lower() == "identity", "identity, as was asked for"),
    "Retry-After": (_is_pause, f"{LONGEST_PAUSE} seconds at most"),
    "RateLimit": (lambda value: all(map(_is_pause, re.findall(r"t\s*=\s*(\d+)", value))), "a pause as short"),
}


def _bound(response: httpx2.Response) -> None:
    """Of a redirect or an error, too, the client reads the whole body."""
    assert isinstance(response.stream, httpx2.SyncByteStream)
    most = _bounds.get().bytes or MAX_ANSWER
    error: Exception = LayercutError("model_invalid", f"the hub's answer has more than {most} bytes", param="/model")
    if not response.is_success:
        most = min(most, MAX_ERROR)
        error = Unreachable(f"its answer, status {response.status_code}, has more than {most} bytes")
    response.stream = BoundedStream(response.stream, most, error)


def check_address(url: httpx2.URL, allowed: Sequence[str]) -> None:
    """Raise ``model_not_allowed`` for a host inside that is neither the hub's own nor ``allowed``."""
    hub = httpx2.URL(constants.ENDPOINT)
    if (url.host, url.port) == (hub.host, hub.port) or url.host in allowed:
        return
    if any(not ipaddress.ip_address(address.partition("%")[0]).is_global for address in addresses_of(url.host)):
        text = (
            f"the hub sends its client to {url.host!r}, an address inside; LAYERCUT_HUB_HOSTS names those that it may"
        )
        raise LayercutError("model_not_allowed", text, param="/model")


def addresses_of(host: str) -> list[str]:
    """None where it cannot be resolved: then nothing is reached either, or a proxy resolves it."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        return []
    return [str(address[0]) for *_, address in found]


# Nobody in this process uses the client unguarded; whoever has settings allows the hosts that they name.
guard_client(())
