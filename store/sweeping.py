"""Deletes files of the artifact store. One that cannot be deleted keeps none of the others."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import groupby, islice

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore

from store.folders import StoreFolder, remove_empty
from store.manifests import MANIFEST
from store.object_errors import fault_of
from store.paths import is_unfinished

#: An object store that fails so often in a row is away, and each try may take minutes. A folder fails at once.
FAILURES_IN_A_ROW = 3
#: Of the files that stayed, so many are named.
MAX_TOLD = 5
#: Of a list, so many at a time; as many are deleted by one request.
PAGE = 1000

#: Where files are that are written and not asked for by name later.
SWEPT = ("jobs", "cache", "readyz", "uploads")


class NotDeletedError(Exception):
    """Files that could not be deleted, after all others were tried. ``deleted`` is how many went."""

    def __init__(self, deleted: int, errors: dict[str, Exception], untried: int) -> None:
        # obstore's own text goes on with a dump of its insides.
        told = "; ".join(f"{path}: {str(error).partition(chr(10))[0]}" for path, error in [*errors.items()][:MAX_TOLD])
        more = f", and {untried} were not tried" if untried else ""
        super().__init__(f"{len(errors)} files could not be deleted{more}: {told}")
        self.deleted, self.errors = deleted, errors


class Sweeper:
    """Of one store; ``folder`` is its folder, where it has one."""

    def __init__(self, store: ObjectStore, folder: StoreFolder | None) -> None:
        self._store, self._folder = store, folder

    def paths(self, start: str) -> list[str]:
        """Of all files under ``start``, also of those that were never written to their end."""
        found = [item["path"] for page in obstore.list(self._store, f"{start}/", chunk_size=PAGE) for item in page]
        return found + (self._folder.unfinished(start) if self._folder else [])

    def delete(self, paths: Iterable[str], start: str) -> int:
        """Delete the ``paths``, which lie under ``start``, and the folders that are empty then; how many files went.

        Raises ``NotDeletedError``.
        """
        try:
            return self._delete(paths)
        finally:
            if self._folder:
                self._folder.remove_empty(start)

    def delete_unfinished(self, older_than_seconds: float) -> int:
        """Delete what was left half written, and folders with nothing in them; how many files went.

        Raises ``NotDeletedError``.
        """
        if self._folder is None:
            return 0
        # All first: what is deleted makes its folder look as if it had just been written to.
        left = [self._folder.left(start, older_than_seconds) for start in SWEPT]
        try:
            return self._delete(path for files, _ in left for path in files)
        finally:
            remove_empty(folder for _, folders in left for folder in folders)

    def _delete(self, paths: Iterable[str]) -> int:
        errors: dict[str, Exception] = {}
        left = deque(paths)
        deleted = 0 if self._folder else self._delete_pages(left)
        in_a_row = 0
        while left and (self._folder or in_a_row < FAILURES_IN_A_ROW):
            path = left.popleft()
            try:
                deleted += self._delete_one(path)
                in_a_row = 0
            except (OSError, BaseError) as error:
                errors[path] = error
                in_a_row += 1
        if errors:
            raise NotDeletedError(deleted, errors, len(left)) from next(iter(errors.values()))
        return deleted

    def _delete_pages(self, left: deque[str]) -> int:
        """Of an object store, as long as it takes whole pages: of one that it does not, it says of no file why. How
        many files went.
        """
        deleted = 0
        for page in _pages(list(left)):
            try:
                obstore.delete(self._store, page)
            except (OSError, BaseError):
                break  # some of it may be gone: to delete it again harms nothing
            deleted += len([left.popleft() for _ in page])
        return deleted

    def _delete_one(self, path: str) -> bool:
        """False where another sweeper was faster."""
        try:
            if self._folder and is_unfinished(path):
                self._folder.remove(path)
            else:
                obstore.delete(self._store, path)
        except FileNotFoundError as error:
            if fault_of(error):
                raise
            return False
        return True


def _pages(paths: list[str]) -> Iterator[list[str]]:
    """For a request each, in which there is no order: manifests go before what they tell of."""
    for _, group in groupby(paths, lambda path: path.endswith(f"/{MANIFEST}")):
        while page := list(islice(group, PAGE)):
            yield page
