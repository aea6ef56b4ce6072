"""Addresses at which an object store itself sends a file, for a short time, to anybody who has one."""

from __future__ import annotations

import logging
from datetime import timedelta

import obstore
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, ObjectStore, S3Store

from store.object_clients import open_signer

log = logging.getLogger("layercut.presigning")

Signer = S3Store | GCSStore | AzureStore


class Presigner:
    """Signs with the service's own key; nobody is asked, but for a key of a role's."""

    def __init__(self, store: Signer | None) -> None:
        self._store = store

    @staticmethod
    def of(store: ObjectStore, url: str, endpoint: str, seconds: float | None) -> Presigner:
        """``endpoint``: where others reach what ``store`` reaches at ``url``; empty: at the same address. Raises
        ``NoStore``.
        """
        found = open_signer(url, endpoint, seconds) if endpoint else store
        return Presigner(found if isinstance(found, Signer) else None)

    def address(self, path: str, seconds: int) -> str | None:
        """None where it cannot be signed: by a store of no such kind, or with a key that only comes with its own."""
        if self._store is None:
            return None
        try:
            return obstore.sign(self._store, "GET", path, timedelta(seconds=seconds))
        except BaseError as error:
            log.warning("cannot sign the address of a file, which is sent by us: %s", str(error).partition("\n")[0])
            return None
