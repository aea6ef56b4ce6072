"""Clients of object stores: which address is whose, and how long a store may take."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, TypedDict

from obstore.exceptions import BaseError
from obstore.store import HTTPStore, ObjectStore, from_url

from store.object_environment import NoStore, client_options, is_web, prefix_of, shown, tidy_environment

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

#: Of the time for an answer: for one try, for how long a new one may begin, and for the pauses between.
_TRY, _TRIES, _PAUSE = 0.6, 0.3, 0.1
#: A whole file, as long as its bytes go on coming. By itself the client gives it half a minute.
_FILE = timedelta(days=1)
#: For those whom nobody waits for: one part, sent or read, takes no longer, and what failed is tried again for as long.
#: Whoever works with the store goes on from there: a client that tries for minutes only hides that it is away.
UNHURRIED_SECONDS, _CONNECT_SECONDS = 60.0, 10.0


class Patience(TypedDict):
    """Arguments of ``obstore.store.from_url``."""

    client_options: ClientConfig
    retry_config: RetryConfig


def open_store(url: str, seconds: float | None, *, whole_seconds: float | None = None, **settings: str) -> ObjectStore:
    """The object store at ``url``, which is asked nothing yet; ``settings`` win over those of the environment.

    ``seconds``: how long an answer may take for those who have somebody waiting; None for those who have not.
    ``whole_seconds``: how long one may take with all its bytes. Raises ``NoStore``.
    """
    tidy_environment(prefix_of(url))
    patience = unhurried(url) if seconds is None else impatient(url, seconds)
    if whole_seconds is not None:
        patience["client_options"]["timeout"] = timedelta(seconds=whole_seconds)
    try:
        store: ObjectStore = from_url(url, **patience, **settings)  # type: ignore[call-overload]
    except (BaseError, ValueError) as error:
        raise NoStore(f"{shown(url)} is no address of an object store: {_first_line(error)}") from None
    if isinstance(store, HTTPStore):
        raise NoStore(
            f"{shown(url)} is no bucket: it is s3://bucket/prefix, gs:// or az://, and the address of its server is"
            " AWS_ENDPOINT_URL, GOOGLE_BASE_URL or AZURE_ENDPOINT"
        )
    return store


def open_signer(url: str, endpoint: str, seconds: float | None) -> ObjectStore:
    """The store at ``url`` as others reach it: at ``endpoint``. Nothing is asked of it but to sign. Raises ``NoStore``,
    also for a kind of store whose addresses are the same for all.
    """
    if not is_web(endpoint) or prefix_of(url) == "GOOGLE_":
        raise NoStore(f"{shown(endpoint)} is no http:// or https:// address that {shown(url)} may have for others")
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
        "client_options": client_options(url, environment) | options,
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
        "client_options": client_options(url, environment) | options,
        "retry_config": {
            "max_retries": 3,
            "retry_timeout": timedelta(seconds=_TRIES * seconds),
            "backoff": {"init_backoff": pause / 2, "max_backoff": pause, "base": 2},
        },
    }


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rpartition("error: ")[2]
