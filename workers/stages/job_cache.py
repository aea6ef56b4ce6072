"""What one job takes from the cache: asked for, and told."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from api_schemas.reports import Reused
from sources.cached_files import Unusable
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

    def share(
        self, kind: CacheKind, fingerprint: str, make: Callable[[], Thing], form: Callable[[Any], Thing] | None = None
    ) -> Thing:
        """The thing itself, of a kind of ``CODECS``. Its maker reads it from the cache too: all get the same bits.

        ``form`` takes what was read for what this job needs, or raises ``Unusable``.
        """
        save, load = CODECS[kind]

        def read(folder: Path) -> Thing:
            found: Thing = load(folder)
            return found if form is None else form(found)

        return self.get(kind, fingerprint, lambda folder: save(make(), folder), read)

    def get(self, kind: CacheKind, fingerprint: str, make: Fill, read: Callable[[Path], Thing]) -> Thing:
        """What ``read`` finds in the folder of the thing, made now (``make`` fills an empty folder) or before. Where
        that is ``Unusable``, the job makes its own.
        """
        entry = self._cache.get(kind, fingerprint, make)
        try:
            thing = read(entry.folder)
        except Unusable as error:
            self._progress.log(f"{error.message}: the job makes its own", "warning")
            return read(self._made(make))
        if entry.reused:
            self._progress.reuse(Reused(kind=kind, fingerprint=fingerprint, seconds_saved=round(entry.seconds, 3)))
        return thing

    def _made(self, make: Fill) -> Path:
        """In a folder that goes with the job."""
        own = Path(tempfile.mkdtemp(prefix="layercut-"))
        weakref.finalize(self, shutil.rmtree, own, ignore_errors=True)
        make(own)
        return own
