"""Objects as they were pinned when a job was accepted."""

from __future__ import annotations

from collections.abc import Iterable

from api_schemas.pinned import PinnedSource
from sources.objects.addresses import allowed, parse
from sources.objects.buckets import Buckets
from sources.paths import What
from sources.settings import SourceSettings
from sources.stored_files import StoredFile, StoredFiles


def pinned_files(pinned: PinnedSource) -> dict[str, StoredFile]:
    return {file.name: StoredFile.of(file) for file in pinned.files}


def pinned_objects(buckets: Buckets, pinned: PinnedSource, settings: SourceSettings) -> StoredFiles:
    """Raises ``<what>_not_allowed`` for an address that ``settings`` do not allow; when read, as ``Buckets.read``."""
    what: What = "model" if pinned.is_model else "dataset"
    prefixes = settings.model_urls if pinned.is_model else settings.data_urls
    address, files = allowed(pinned.source, prefixes, what=what, param=pinned.param), pinned_files(pinned)
    if pinned.is_model:
        return buckets.pinned(address, files, what=what, param=pinned.param)
    # Data is called by its whole address.
    by_key = {parse(name).key: file for name, file in files.items()}
    found = buckets.pinned(address._replace(key=""), by_key, what=what, param=pinned.param)

    def read(name: str, start: int, end: int) -> Iterable[bytes]:
        return found.open_range(parse(name).key, start, end)

    return StoredFiles(pinned.source, files, read)
