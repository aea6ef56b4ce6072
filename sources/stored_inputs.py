"""Who finds the stored files that a job reads, as they were pinned when it was accepted."""

from __future__ import annotations

from typing import Protocol

from api_schemas.delivered import Delivered
from api_schemas.errors import LayercutError
from api_schemas.pinned import PinnedSource
from sources.stored_files import StoredFiles


class StoredInputs(Protocol):
    """Finds files as they were pinned. Raises ``LayercutError`` where they are others, here or when they are read."""

    def delivered(self, pinned: Delivered) -> StoredFiles:
        """All that an earlier job delivered."""

    def source(self, pinned: PinnedSource) -> StoredFiles:
        """Those of an upload or an object store, by the names that they are pinned by."""


class NoStore:
    """Of who has no store at hand."""

    def delivered(self, pinned: Delivered) -> StoredFiles:
        raise LayercutError("internal", f"there is no store to take the files of {pinned.job} from")

    def source(self, pinned: PinnedSource) -> StoredFiles:
        raise LayercutError("internal", f"there is no store to take {pinned.source} from")


NO_STORE = NoStore()
