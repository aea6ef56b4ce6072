"""Secrets as they are kept: ``scrypt$log2(n)$r$p$salt$hash``. The standard library's scrypt (RFC 7914).

A key's secret is of 256 random bits, so no hash could be undone by guessing; a slow one holds that promise should the
chance that made the keys turn out to be a poor one.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import b64decode, b64encode
from functools import cache

# 16 MiB and some 40 ms.
LOG2_N, R, P = 14, 8, 1
_SALT_BYTES, _HASH_BYTES = 16, 32


def hashed(secret: str) -> str:
    salt = secrets.token_bytes(_SALT_BYTES)
    return "$".join(("scrypt", str(LOG2_N), str(R), str(P), _text(salt), _text(_scrypt(secret, salt, LOG2_N, R, P))))


def matches(secret: str, kept: str) -> bool:
    """Whether ``kept`` is the hash of ``secret``. Takes as long for a wrong one as for the right one."""
    _, log2_n, r, p, salt, expected = kept.split("$")
    found = _scrypt(secret, b64decode(salt), int(log2_n), int(r), int(p))
    return hmac.compare_digest(found, b64decode(expected))


def _scrypt(secret: str, salt: bytes, log2_n: int, r: int, p: int) -> bytes:
    memory = 2 * 128 * r * 2**log2_n
    return hashlib.scrypt(secret.encode(), salt=salt, n=2**log2_n, r=r, p=p, maxmem=memory, dklen=_HASH_BYTES)


def _text(raw: bytes) -> str:
    return b64encode(raw).decode()


@cache
def of_nobody() -> str:
    """What a secret is compared with where there is no such key: it takes as long."""
    return hashed(secrets.token_urlsafe(32))
