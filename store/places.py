"""Whether the folder or bucket of an artifact store is there: else nothing in it is missing, and nothing deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore

from store.disk_space import folder_there, require_folder
from store.passing import passing

#: What readiness writes: always the same, so that one which was left goes with the next.
PROBE_FOLDER = "readyz"
PROBE = f"{PROBE_FOLDER}/probe"


class Place(Protocol):
    """A folder, or a bucket."""

    def require(self) -> None:
        """Raise ``storage_unavailable`` where it is not there, or does not answer."""

    def there(self) -> AbstractContextManager[None]:
        """What is done in it counts only where it is there: else ``storage_unavailable``."""


class FolderPlace:
    """As ``require_folder`` has it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def require(self) -> None:
        require_folder(self._folder)

    def there(self) -> AbstractContextManager[None]:
        return folder_there(self._folder)


class BucketPlace:
    """It says itself that it is not there, but not of a single file: an answer to HEAD has no body to say so in."""

    def __init__(self, store: Callable[[], ObjectStore]) -> None:
        self._store = store

    def require(self) -> None:
        try:
            next(iter(obstore.list(self._store(), f"{PROBE_FOLDER}/")), None)
        except (BaseError, OSError) as error:
            raise (passing(error) or error) from error

    @contextmanager
    def there(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            self.require()
            raise
