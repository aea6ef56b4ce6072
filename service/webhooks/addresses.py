"""Where messages may go: to public addresses, and to hosts that the operator has named.

A webhook has the gateway send a request to wherever a stranger says. So a name is resolved here, each of its addresses
is looked at, and the connection goes to those very addresses (``sender.py``): a name server that answers otherwise a
moment later changes nothing.
"""

from __future__ import annotations

import ipaddress
import threading
from contextlib import suppress
from dataclasses import dataclass

import httpx2

from api_schemas.errors import LayercutError
from api_schemas.webhook_requests import LONGEST_URL
from service.settings import GatewaySettings
from sources.hub_client import addresses_of
from store.threads import start_beside

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Beyond what ``is_global`` knows: what leads elsewhere than it says, or is of one site.
REFUSED_NETWORKS = tuple(
    map(
        ipaddress.ip_network,
        ("2002::/16", "2001::/32", "64:ff9b:1::/48", "::/96", "fec0::/10", "5f00::/16", "3fff::/20", "192.88.99.0/24"),
    )
)
#: IPv4 in IPv6, where a gateway of the network translates: it is what it holds.
NAT64 = ipaddress.ip_network("64:ff9b::/96")


#: Names that are being resolved; beyond, they cannot be, which is so only where many hang.
MOST_LOOKUPS = 128
_lookups = threading.BoundedSemaphore(MOST_LOOKUPS)


@dataclass(frozen=True)
class Policy:
    """``hosts`` may have any address; ``plain_http`` may be used, by any. A name has ``seconds`` to be resolved."""

    hosts: frozenset[str]
    plain_http: bool
    seconds: float = 15.0

    @classmethod
    def of(cls, settings: GatewaySettings) -> Policy:
        hosts = frozenset(name.lower() for name in settings.webhook_hosts)
        return cls(hosts, settings.webhook_plain_http, settings.webhook_seconds)


def parsed(url: str, policy: Policy, param: str | None = None) -> httpx2.URL:
    """``url``, read once for all; raises ``webhook_not_allowed`` for one that no message goes to, whatever it resolves
    to.
    """
    try:
        found = httpx2.URL(url)
        # As it is asked for: `URL.host` decodes it, which fails for names that exist.
        host = found.raw_host.decode("ascii")
    except (httpx2.InvalidURL, ValueError):
        raise _refused("it is not a URL: https://host/path is one", param) from None
    for is_wrong, reason in (
        (len(url) > LONGEST_URL, f"it has more than {LONGEST_URL} characters"),
        (found.scheme not in ("https", "http") or not host, "it must be https://host/path"),
        (
            found.scheme == "http" and not policy.plain_http,
            "it must be https: http is sent only where LAYERCUT_WEBHOOK_PLAIN_HTTP allows it",
        ),
        (found.port == 0 or (found.port or 0) > 65535, "its port must be 1 to 65535"),
        (bool(found.userinfo), "it must not hold a user or password: messages are signed instead"),
        ("%" in host, "its host must be a name or an address"),
    ):
        if is_wrong:
            raise _refused(reason, param)
    return found


def check(url: str, policy: Policy, param: str | None = None) -> None:
    """Raise ``webhook_not_allowed`` for an address that may not be told. Asks the name server."""
    allowed_addresses(parsed(url, policy, param).raw_host.decode("ascii"), policy, param)


def allowed_addresses(host: str, policy: Policy, param: str | None = None) -> list[str]:
    """The addresses of ``host``; raises ``webhook_not_allowed`` where it has none, or one inside."""
    found = _resolved(host, policy.seconds)
    if not found:
        raise _refused(f"the name {host[:100]!r} cannot be resolved within {policy.seconds:g} s", param)
    if host.lower() not in policy.hosts and not all(map(is_public, found)):
        # Not which: what a name inside resolves to is nobody's business.
        text = f"{host[:100]!r} has an address inside; LAYERCUT_WEBHOOK_HOSTS names those that may be told"
        raise _refused(text, param)
    return found


def _resolved(host: str, seconds: float) -> list[str]:
    """None also where that takes longer. What hangs cannot be ended: it keeps its thread until the system gives up."""
    if not _lookups.acquire(blocking=False):
        return []

    def look_up() -> list[str]:
        try:
            return addresses_of(host)
        finally:
            _lookups.release()

    try:
        answer = start_beside(look_up, "lookup")
    except RuntimeError:  # no thread to be had
        _lookups.release()
        return []
    with suppress(TimeoutError):
        return answer.result(seconds)
    return []


def is_public(address: str) -> bool:
    """Whether whoever asks could have reached the address themselves."""
    try:
        found = _meant(ipaddress.ip_address(address.partition("%")[0]))
    except ValueError:
        return False
    inside = found.is_multicast or found.is_reserved or found.is_unspecified or found.is_loopback or found.is_link_local
    return found.is_global and not inside and not any(found in network for network in REFUSED_NETWORKS)


def _meant(address: Address) -> Address:
    """The IPv4 address that one of IPv6 stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in NAT64 else address


def _refused(reason: str, param: str | None) -> LayercutError:
    return LayercutError("webhook_not_allowed", f"this address may not be told: {reason}", param=param)
