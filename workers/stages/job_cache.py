"""What one job takes from the cache: asked for, told, and kept for the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from api_schemas.reports import Reused
from workers.cache.folder import Cache, Fill
from workers.stages.cache_codecs import CODECS
from workers.stages.progress import ProgressReporter

Thing = TypeVar("Thing")


class JobCache:
    """``reused`` is what this job did not have to make."""

    def __init__(self, cache: Cache, progress: ProgressReporter) -> None:
        self._cache, self._progress = cache, progress
        self.reused: list[Reused] = []

    @property
    def root(self) -> Path:
        """A folder of this host's that outlives the job."""
        return self._cache.root

    def share(self, kind: str, fingerprint: str, make: Callable[[], Thing]) -> Thing:
        """The thing itself, of a kind of ``CODECS``. Its maker reads it from the cache too: all get the same bits."""
        save, load = CODECS[kind]
        return load(self.get(kind, fingerprint, lambda folder: save(make(), folder)))

    def get(self, kind: str, fingerprint: str, make: Fill) -> Path:
        """The folder of the thing, made now (``make`` fills an empty folder) or before."""
        entry = self._cache.get(kind, fingerprint, make)
        if entry.reused:
            seconds = round(entry.seconds, 3)
            self.reused.append(Reused(kind=kind, fingerprint=fingerprint, seconds_saved=seconds))
            message = f"reused: {kind.replace('_', ' ')} {fingerprint[:12]}, which took {seconds:.1f} s to make"
            self._progress.resolved(self.resolved(), message)
        return entry.folder

    def has(self, kind: str) -> bool:
        """Whether a thing of that kind was reused."""
        return any(thing.kind == kind for thing in self.reused)

    def resolved(self) -> dict[str, list[dict[str, object]]]:
        """For ``job.resolved``."""
        return {"reused": [thing.model_dump(mode="json") for thing in self.reused]}
