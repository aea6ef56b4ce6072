"""Addresses of object stores, as requests and settings say them: ``s3://bucket/key``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from api_schemas.errors import LayercutError
from api_schemas.source_names import SCHEMES
from sources.paths import MAX_NAME, What

SETTINGS: dict[What, str] = {"model": "LAYERCUT_MODEL_URLS", "dataset": "LAYERCUT_DATA_URLS"}
#: Of a key, in bytes: what S3 takes.
MAX_KEY = 1024

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,253}")


class Address(NamedTuple):
    """``key`` is that of one object, or what the keys of several begin with; empty: the whole bucket."""

    scheme: str
    bucket: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.root}/{self.key}" if self.key else self.root

    @property
    def root(self) -> str:
        return f"{self.scheme}://{self.bucket}"

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2]

    @property
    def above(self) -> Address:
        """Without the last part of the key."""
        return self._replace(key=self.key.rpartition("/")[0])

    def child(self, name: str) -> Address:
        return self._replace(key=f"{self.key}/{name}" if self.key else name)

    def is_below(self, prefix: Address) -> bool:
        """Whether it is ``prefix``, or goes on after it, by whole parts of a key."""
        same = (self.scheme, self.bucket) == (prefix.scheme, prefix.bucket)
        return same and (f"{self.key}/".startswith(f"{prefix.key}/") if prefix.key else True)


def parse(text: str) -> Address:
    """Raises ``ValueError`` with what is wrong, in which nothing of the address stands: it may hold a secret."""
    scheme, _, rest = text.partition("://")
    if scheme not in SCHEMES:
        raise ValueError(f"an address of an object store begins with {', '.join(f'{name}://' for name in SCHEMES)}")
    odd = next((mark for mark in "?#@" if mark in rest), None)
    if odd is not None:
        raise ValueError(
            f"an address has no {odd!r} in it: it is {scheme}://bucket/key, and keys and signatures stay in the"
            " environment of the service"
        )
    bucket, _, key = rest.partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise ValueError(f"an address is {scheme}://bucket/key, and what stands for the bucket is none")
    return Address(scheme, bucket, _key(key.removesuffix("/")))


def _key(key: str) -> str:
    parts = key.split("/") if key else []
    if any(part in ("", ".", "..") or len(part.encode("utf-8", "surrogatepass")) > MAX_NAME for part in parts):
        raise ValueError(f"a part of the key is empty, '.' or '..', or has more than {MAX_NAME} bytes")
    if not key.isprintable() or "\\" in key or len(key.encode("utf-8", "surrogatepass")) > MAX_KEY:
        raise ValueError(f"a key has at most {MAX_KEY} bytes, and no backslashes or control characters")
    return key


def allowed(text: str, prefixes: Sequence[str], *, what: What, param: str) -> Address:
    """The address that ``text`` says, where it is below one of ``prefixes``; raises ``<what>_not_allowed``."""
    setting = SETTINGS[what]
    try:
        address = parse(text)
    except ValueError as error:
        raise LayercutError(f"{what}_not_allowed", str(error), param=param) from None
    if not prefixes:
        text = f"addresses of object stores are not allowed here: {setting} names none that a {what} may lie below"
        raise LayercutError(f"{what}_not_allowed", text, param=param)
    if not any(address.is_below(parse(prefix)) for prefix in prefixes):
        text = f"{str(address)!r} is below no allowed address; {setting} of the service names those that are"
        raise LayercutError(f"{what}_not_allowed", text, param=param)
    return address
