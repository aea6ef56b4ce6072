"""What the environment says of object stores: variables of obstore's own, by the kind of store."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

_PREFIXES = {"gs": "GOOGLE_", "az": "AZURE_", "azure": "AZURE_", "abfs": "AZURE_", "abfss": "AZURE_", "adl": "AZURE_"}
_AZURE_HOSTS = (".windows.net", ".fabric.microsoft.com")
_ENDPOINTS = {
    "AWS_": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "GOOGLE_": ("GOOGLE_BASE_URL",),
    "AZURE_": ("AZURE_ENDPOINT", "AZURE_STORAGE_ENDPOINT"),
}
#: What obstore's client reads of the environment by itself, and only where it is given no options at all.
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


class NoStore(ValueError):
    """An address that no store has. One sentence for whoever sets it up."""


def prefix_of(url: str) -> str:
    """Of the variables that are about the store at ``url``."""
    parts = urlsplit(url)
    web = "AZURE_" if (parts.hostname or "").endswith(_AZURE_HOSTS) else "AWS_"
    return _PREFIXES.get(parts.scheme, web)


def client_options(url: str, environment: Mapping[str, str]) -> Any:
    """Of obstore's client, as the environment has them."""
    prefix = prefix_of(url)
    names = {name: f"{prefix}{name.upper()}" for name in _OPTIONS}
    return {name: environment[variable] for name, variable in names.items() if variable in environment}


def tidy_environment(prefix: str) -> None:
    """Unset what is empty, as env files and charts write it: obstore takes it for a value. Raises ``NoStore`` for an
    address of a server that is none: obstore ends the thread that uses it.
    """
    for name in [name for name, value in os.environ.items() if name.startswith(prefix) and not value]:
        del os.environ[name]
    for name in _ENDPOINTS.get(prefix, ()):
        if not is_web(os.environ.get(name, "http://none")):
            raise NoStore(f"{name} is {shown(os.environ[name])}: it is http:// or https:// with a host")


def is_web(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def shown(url: str) -> str:
    """Without a password and a token that may stand in it."""
    parts = urlsplit(url)
    return repr(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.scheme else parts.path)
