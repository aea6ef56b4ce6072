"""Where the hub may send its client: not to addresses inside, such as loopback or a cloud's metadata service.

The hub's own address is the choice of whoever runs the service (`HF_ENDPOINT`), and may be inside. Each redirect is
looked at. The name is resolved here and once more by the client: a name server that gives two answers is not seen.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

import httpx2
from huggingface_hub import constants, set_client_factory
from huggingface_hub.utils._http import default_client_factory

from api_schemas.errors import LayercutError


def guard_redirects(allowed: Sequence[str]) -> None:
    """Have the hub's client, in this process, refuse addresses inside but those of the hosts ``allowed``."""

    def check(request: httpx2.Request) -> None:
        check_address(request.url, allowed)

    def guarded() -> httpx2.Client:
        client = default_client_factory()
        hooks = client.event_hooks
        client.event_hooks = {**hooks, "request": [*hooks["request"], check]}
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
