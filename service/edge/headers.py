"""The security headers of every answer."""

from __future__ import annotations

RawHeaders = list[tuple[bytes, bytes]]

CSP = b"content-security-policy"
CACHE = b"cache-control"
REFERRER = b"referrer-policy"

#: What no page may do with an answer of ours: guess its type, frame it, load it from another site.
SECURITY: RawHeaders = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
]

#: An answer is data: a browser that shows it as a page runs nothing of it. The docs page has a policy of its own.
DATA_ONLY = (CSP, b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")

#: Whoever is led elsewhere from an answer is not told where they came from. Pages with forms have a policy of their
#: own: with this one, a browser would not say of a form that it is ours (`Origin: null`).
NO_REFERRER = (REFERRER, b"no-referrer")

#: Jobs change and are not everybody's. Files say themselves how long they may be kept.
NOT_KEPT = (CACHE, b"no-store")


def add_security_headers(headers: RawHeaders) -> None:
    """Give an answer its security headers; policies and a cache rule of its own stay."""
    headers.extend(SECURITY)
    names = [name for name, _ in headers]
    headers.extend(default for default in (DATA_ONLY, NO_REFERRER, NOT_KEPT) if default[0] not in names)
