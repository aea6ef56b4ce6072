"""Whether the gateway may listen where it is told to: not where strangers are, while nobody has a key."""

from __future__ import annotations

import ipaddress

from service.settings import GatewaySettings
from store.keys import KeyStore


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def needs_key(settings: GatewaySettings) -> bool:
    """Whether a request without a key is refused."""
    return settings.auth == "on" or (settings.auth == "auto" and not is_loopback(settings.host))


def refusal(settings: GatewaySettings, keys: KeyStore) -> str | None:
    """Why it may not listen there; None where it may."""
    if is_loopback(settings.host) or not needs_key(settings) or keys.any_valid():
        return None
    return (
        f"{settings.host} can be reached by others, and there is no key to the API yet, so nobody could use it: make"
        " one with `layercut keys create --tenant default`, or say with LAYERCUT_AUTH=off that anybody may"
    )
