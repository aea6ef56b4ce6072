"""How long an object store may take, for those who have somebody waiting."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypedDict
from urllib.parse import urlsplit

from obstore.store import ObjectStore, from_url

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

#: Of the time for an answer: for one try, for how long a new one may begin, and for the pauses between.
_TRY, _TRIES, _PAUSE = 0.6, 0.3, 0.1
#: A whole file, as long as its bytes go on coming.
_FILE = timedelta(days=1)

#: What obstore's client reads of the environment by itself, and only where it is given no options at all.
_PREFIXES = {"gs": "GOOGLE_", "az": "AZURE_", "azure": "AZURE_", "abfs": "AZURE_", "abfss": "AZURE_"}
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


def opened_bucket(url: str, seconds: float, whole_seconds: float | None = None) -> ObjectStore:
    """The bucket at ``url``, as ``impatient`` has it. ``whole_seconds``: an answer, with all its bytes, takes no
    longer.
    """
    patience = impatient(url, seconds)
    if whole_seconds is not None:
        patience["client_options"]["timeout"] = timedelta(seconds=whole_seconds)
    return from_url(url, **patience)


def _given(url: str, environment: Mapping[str, str]) -> Any:
    prefix = _PREFIXES.get(urlsplit(url).scheme, "AWS_")
    names = {name: f"{prefix}{name.upper()}" for name in _OPTIONS}
    return {name: environment[variable] for name, variable in names.items() if variable in environment}
