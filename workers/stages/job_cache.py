"""What one job takes from the cache: asked for, and told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from api_schemas.reports import Reused
from workers.cache.folder import Cache, Fill
from workers.protocol import CacheKind
from workers.stages.cache_codecs import CODECS
from workers.stages.progress import ProgressReporter

Thing = TypeVar("Thing")


class JobCache:
    """Asks ``cache`` for what the job needs, and has ``progress`` tell what need not be made."""

    def __init__(self, cache: Cache, progress: ProgressReporter) -> None:
        self._cache, self._progress = cache, progress

    @property
    def root(self) -> Path:
        """A folder of this host's that outlives the job."""
        return self._cache.root

    def share(self, kind: CacheKind, fingerprint: str, make: Callable[[], Thing]) -> Thing:
        """The thing itself, of a kind of ``CODECS``. Its maker reads it from the cache too: all get the same bits."""
        save, load = CODECS[kind]
        thing: Thing = load(self.get(kind, fingerprint, lambda folder: save(make(), folder)))
        return thing

    def get(self, kind: CacheKind, fingerprint: str, make: Fill) -> Path:
        """The folder of the thing, made now (``make`` fills an empty folder) or before."""
        entry = self._cache.get(kind, fingerprint, make)
        if entry.reused:
            self._progress.reuse(Reused(kind=kind, fingerprint=fingerprint, seconds_saved=round(entry.seconds, 3)))
        return entry.folder
