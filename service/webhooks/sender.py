"""One attempt at one message: an address that was looked at, a signature, an answer of bounded size and time."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property

import httpcore2
import httpx2

from api_schemas.errors import LayercutError
from service.settings import GatewaySettings
from service.version import VERSION
from service.webhooks.addresses import Policy, allowed_addresses, parsed
from service.webhooks.outcomes import failed, outcome_of
from service.webhooks.signing import Signer
from sources.hub_client import Deadline, TimedBackend, Unreachable, bounded
from store.deliveries import Due, Outcome

#: Of an answer that is no success, in bytes; the rest is not read.
MOST_READ = 4096


class Sender:
    """Thread-safe; each attempt has a connection of its own."""

    def __init__(self, settings: GatewaySettings, signer: Signer) -> None:
        self._seconds = settings.webhook_seconds
        self._policy = Policy.of(settings)
        self._signer = signer
        backend = httpcore2.SyncBackend()
        self._backend = TimedBackend(backend, lambda host: allowed_addresses(host, self._policy))

    def send(self, due: Due) -> Outcome:
        """What came of it, within ``webhook_seconds``, in which its name is resolved, too."""
        try:
            with bounded(Deadline(self._seconds)):
                return self._post(due)
        except LayercutError as error:
            return failed(error.message)
        except (Unreachable, httpcore2.TimeoutException):
            return failed(f"no answer within {self._seconds:g} s")
        except (httpcore2.NetworkError, httpcore2.ProtocolError, OSError) as error:
            return failed(f"the connection failed: {type(error).__name__}: {error}"[:300])

    def _post(self, due: Due) -> Outcome:
        url = parsed(due.url, self._policy)
        headers = {
            "host": url.netloc.decode("ascii"),
            "content-type": "application/json",
            "user-agent": f"layercut/{VERSION}",
            **self._signer.headers(due.id, due.body, due.secret),
        }
        address = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        sent: list[tuple[bytes | str, bytes | str]] = [*headers.items()]
        with self._pool() as pool, pool.stream("POST", address, headers=sent, content=due.body.encode()) as answer:
            retry_after = dict(_lowered(answer)).get(b"retry-after", b"").decode("latin-1")
            said = "" if 200 <= answer.status < 300 else _beginning(answer)
            return outcome_of(answer.status, retry_after, said)

    def _pool(self) -> httpcore2.ConnectionPool:
        return httpcore2.ConnectionPool(self._tls, max_connections=1, network_backend=self._backend)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return httpx2.create_ssl_context()


def _lowered(answer: httpcore2.Response) -> Iterator[tuple[bytes, bytes]]:
    return ((name.lower(), value) for name, value in answer.headers)


def _beginning(answer: httpcore2.Response) -> str:
    """As much of the body as comes in time, and as is shown."""
    heard = b""
    with suppress(Unreachable, httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError):
        for piece in answer.iter_stream():
            heard += piece
            if len(heard) >= MOST_READ:
                break
    return heard[:MOST_READ].decode("utf-8", "replace")
