"""Who may call: by the name the client has for us (Host), and by the page that makes a browser call (Origin).

A browser sends a request to whatever address a page names, and a page's own name can be made to lead here (DNS
rebinding). Three facts are true of every browser: the Host is the name that the page used; a request that a page of
another origin makes carries ``Origin`` where it writes, and ``Sec-Fetch-Site`` where the page was itself loaded
safely. curl and other programs send neither of the last two, and pass.

An address as Host is never a rebound name, so any is taken: probes call a container by its own.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from functools import lru_cache

from starlette.types import Scope

from api_schemas.errors import LayercutError
from service.edge.root_path import own_path
from service.settings import GatewaySettings

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?")

#: What a browser says of a call by one of our own pages, and of one that a person made by hand.
OWN_SITES = frozenset({b"same-origin", b"none"})

#: Pages that people follow links to, and what all others begin with.
PAGES, BELOW = frozenset({"/", "/docs"}), "/ui/"

#: The headers that decide. A scope's headers are read once for all of them.
READ = frozenset({b"host", b"origin", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest"})


class Callers:
    def __init__(self, settings: GatewaySettings) -> None:
        self._origins = {origin.rstrip("/").lower().encode() for origin in settings.allowed_origins}
        self._is_ours: Callable[[bytes], bool] = lru_cache(1024)(host_check(settings.allowed_hosts, settings.host))

    def check(self, scope: Scope) -> None:
        """Raise ``misdirected`` or ``cross_site``."""
        sent = {name: value for name, value in scope["headers"] if name in READ}
        host = sent.get(b"host", b"")
        if not self._is_ours(host):
            raise LayercutError("misdirected", _misdirected(host))
        if len(sent) > 1:
            self._check_site(scope, sent, host)

    def _check_site(self, scope: Scope, sent: dict[bytes, bytes], host: bytes) -> None:
        origin, site = sent.get(b"origin"), sent.get(b"sec-fetch-site")
        if origin is not None and (origin.lower() in self._origins or b"*" in self._origins):
            return
        if origin is not None and not _same_origin(origin, scope["scheme"], host, site):
            shown = origin.decode("latin-1")[:100]
            raise LayercutError(
                "cross_site",
                f"a page of {shown!r} may not call this service; LAYERCUT_ALLOWED_ORIGINS names those that may",
            )
        if site is not None and site not in OWN_SITES and not _follows_a_link(scope, sent):
            raise LayercutError(
                "cross_site",
                "a page of another site may not call this service (Sec-Fetch-Site); LAYERCUT_ALLOWED_ORIGINS names"
                " the origins that may",
            )


def host_check(names: list[str], bind: str) -> Callable[[bytes], bool]:
    """Whether a Host header is a name of ours; ``names`` may have ``*.example.org`` (all names below it) and ``*``."""
    exact = {"localhost", bind.lower(), *(name.lower().rstrip(".") for name in names if not name.startswith("*"))}
    below = (".localhost", *(name[1:].lower() for name in names if name.startswith("*.")))
    anyone = "*" in names

    def is_ours(header: bytes) -> bool:
        found = _HOST.fullmatch(header.decode("latin-1"))
        if found is None:
            return False
        name = found[1].lower().rstrip(".")
        return anyone or name in exact or name.endswith(below) or _is_address(name)

    return is_ours


def _same_origin(origin: bytes, scheme: str, host: bytes, site: bytes | None) -> bool:
    own = origin.lower() == f"{scheme}://".encode() + host.lower()
    # Where a proxy ends TLS we do not know the scheme; a browser that says same-origin does.
    return own or (site in OWN_SITES and origin.lower().partition(b"://")[2] == host.lower())


def _follows_a_link(scope: Scope, sent: dict[bytes, bytes]) -> bool:
    """Whether a person came to one of our pages from another site: nothing there can be read by that site."""
    is_visit = sent.get(b"sec-fetch-mode") == b"navigate" and sent.get(b"sec-fetch-dest") == b"document"
    return is_visit and scope["method"] in ("GET", "HEAD") and is_page(own_path(scope))


def is_page(path: str) -> bool:
    """Whether a person may be sent there by a link."""
    return path in PAGES or path.startswith(BELOW)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _misdirected(host: bytes) -> str:
    if not host:
        return "the request has no Host; send the name or the address that this service is called by"
    shown = host.decode("latin-1")[:100]
    return f"the Host {shown!r} is no name of this service; LAYERCUT_ALLOWED_HOSTS names those that are"
