"""Addresses, as those who hold them: what is counted by caller is counted by this."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

#: What stands for a caller whose address is none.
UNKNOWN = "unknown"


@lru_cache(4096)
def network_of(address: str) -> str:
    """The address; of IPv6 its /64, all of which one host has."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return UNKNOWN
    if found.version == 4:
        return str(found)
    return str(ipaddress.ip_network((int(found), 64), strict=False))


@lru_cache(4096)
def is_loopback(address: str) -> bool:
    """Whoever is on this machine already has better ways to stop it; a unix socket has no address."""
    try:
        return not address or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def address_of(client: tuple[str, int] | None) -> str:
    """As it goes into the audit log. A proxy's header may say anything: what is no address is not kept."""
    try:
        return str(ipaddress.ip_address(client[0])) if client else UNKNOWN
    except ValueError:
        return UNKNOWN
