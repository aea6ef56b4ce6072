"""Clients of object stores: which address is whose, and how long a store may take."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypedDict
from urllib.parse import urlsplit

from obstore.exceptions import BaseError
from obstore.store import HTTPStore, ObjectStore, from_url

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

#: Of the time for an answer: for one try, for how long a new one may begin, and for the pauses between.
_TRY, _TRIES, _PAUSE = 0.6, 0.3, 0.1
#: A whole file, as long as its bytes go on coming. By itself the client gives it half a minute.
_FILE = timedelta(days=1)
#: For those whom nobody waits for: one part, sent or read, takes no longer, and what failed is tried again for as long.
#: Whoever works with the store goes on from there: a client that tries for minutes only hides that it is away.
UNHURRIED_SECONDS, _CONNECT_SECONDS = 60.0, 10.0

#: What obstore's client reads of the environment by itself, and only where it is given no options at all.
_PREFIXES = {"gs": "GOOGLE_", "az": "AZURE_", "azure": "AZURE_", "abfs": "AZURE_", "abfss": "AZURE_", "adl": "AZURE_"}
_OPTIONS = (
    "allow_http",
    "allow_invalid_certificates",
    "default_content_type",
    "http1_only",
    "http2_only",
    "pool_idle_timeout",
    "pool_max_idle_per_host",
    "proxy_url",
    "proxy_ca_certificate",
    "proxy_excludes",
    "randomize_addresses",
    "user_agent",
)


class Patience(TypedDict):
    """Arguments of ``obstore.store.from_url``."""

    client_options: ClientConfig
    retry_config: RetryConfig


class NoStore(ValueError):
    """An address that no store has. One sentence for whoever sets it up."""


def open_store(url: str, seconds: float | None, **settings: str) -> ObjectStore:
    """The object store at ``url``, which is asked nothing yet; ``settings`` win over those of the environment.

    ``seconds``: how long an answer may take for those who have somebody waiting; None for those who have not. Raises
    ``NoStore``.
    """
    patience = unhurried(url) if seconds is None else impatient(url, seconds)
    try:
        store: ObjectStore = from_url(url, **patience, **settings)  # type: ignore[call-overload]
    except (BaseError, ValueError) as error:
        raise NoStore(f"{_shown(url)} is no address of an object store: {_first_line(error)}") from None
    if isinstance(store, HTTPStore):
        raise NoStore(
            f"{_shown(url)} is no bucket: it is s3://bucket/prefix, gs:// or az://, and the address of its server is"
            " AWS_ENDPOINT_URL, GOOGLE_BASE_URL or AZURE_ENDPOINT"
        )
    return store


def open_signer(url: str, endpoint: str, seconds: float | None) -> ObjectStore:
    """The store at ``url`` as others reach it: at ``endpoint``. Nothing is asked of it but to sign. Raises ``NoStore``,
    also for a kind of store whose addresses are the same for all.
    """
    parts, kind = urlsplit(endpoint), _PREFIXES.get(urlsplit(url).scheme, "AWS_")
    if parts.scheme not in ("http", "https") or not parts.netloc or kind == "GOOGLE_":
        raise NoStore(f"{_shown(endpoint)} is no http:// or https:// address that {_shown(url)} may have for others")
    if "AWS_ENDPOINT_URL_S3" in os.environ:  # obstore lets nothing win over it
        raise NoStore("AWS_ENDPOINT_URL_S3 is for all addresses, signed ones too: set AWS_ENDPOINT_URL in its place")
    return open_store(url, seconds, endpoint=endpoint)


def unhurried(url: str, environment: Mapping[str, str] = os.environ) -> Patience:
    """For those who send and read whole artifacts: as slow as it likes, and never silent for a minute."""
    one = timedelta(seconds=UNHURRIED_SECONDS)
    options: ClientConfig = {
        "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
        "read_timeout": one,
        "timeout": _FILE,
    }
    return {
        "client_options": _given(url, environment) | options,
        "retry_config": {
            "max_retries": 10,
            "retry_timeout": one,
            "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=15), "base": 2},
        },
    }


def impatient(url: str, seconds: float, environment: Mapping[str, str] = os.environ) -> Patience:
    """For the object store at ``url``: an answer begins within ``seconds``, tries that failed fast included, and its
    bytes never pause for longer.
    """
    one = timedelta(seconds=_TRY * seconds)
    pause = timedelta(seconds=_PAUSE * seconds)
    options: ClientConfig = {"connect_timeout": one, "read_timeout": one, "timeout": _FILE}
    return {
        "client_options": _given(url, environment) | options,
        "retry_config": {
            "max_retries": 3,
            "retry_timeout": timedelta(seconds=_TRIES * seconds),
            "backoff": {"init_backoff": pause / 2, "max_backoff": pause, "base": 2},
        },
    }


def _given(url: str, environment: Mapping[str, str]) -> Any:
    prefix = _PREFIXES.get(urlsplit(url).scheme, "AWS_")
    names = {name: f"{prefix}{name.upper()}" for name in _OPTIONS}
    return {name: environment[variable] for name, variable in names.items() if variable in environment}


def _shown(url: str) -> str:
    """Without a password and a token that may stand in it."""
    parts = urlsplit(url)
    return repr(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.scheme else parts.path)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rpartition("error: ")[2]
