"""Files put into an object store, to be named in requests."""

from __future__ import annotations

from pathlib import Path

import obstore
from obstore.store import ObjectStore

from sources.objects.addresses import parse


def put(store: ObjectStore, url: str, source: Path | bytes) -> str:
    """A file, or all files of a folder, at ``url`` of the bucket that ``store`` is; the same ``url``."""
    key = parse(url).key
    if isinstance(source, bytes):
        obstore.put(store, key, source)
        return url
    for path in [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]:
        below = "" if source.is_file() else f"/{path.relative_to(source).as_posix()}"
        obstore.put(store, f"{key}{below}", path.read_bytes())
    return url
