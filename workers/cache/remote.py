"""The cache of the whole platform, as a runner sees it. Imports no torch and no store."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from workers.cache.folder import CacheEntry, Fill
from workers.protocol import CacheAnswer, CacheKind, CacheRequest


class RemoteCache:
    """The cache of the whole platform, asked for through the supervisor.

    ``tell`` sends it a line; ``receive`` waits for its answer, also for as long as another job is at making the thing.
    """

    def __init__(self, root: Path, tell: Callable[[str], None], receive: Callable[[], str]) -> None:
        self.root = root
        self._tell, self._receive = tell, receive

    def get(self, kind: CacheKind, fingerprint: str, make: Fill) -> CacheEntry:
        answer = self._ask(CacheRequest(cache="want", kind=kind, fingerprint=fingerprint))
        if answer.made:
            return CacheEntry(answer.folder, True, answer.seconds)
        own, began = answer.folder, time.perf_counter()
        make(own)
        seconds = time.perf_counter() - began
        answer = self._ask(CacheRequest(cache="made", kind=kind, fingerprint=fingerprint, seconds=seconds))
        if answer.folder != own:  # the supervisor has a copy
            shutil.rmtree(own, ignore_errors=True)
        return CacheEntry(answer.folder, False, seconds)

    def _ask(self, request: CacheRequest) -> CacheAnswer:
        self._tell(request.model_dump_json())
        return CacheAnswer.model_validate_json(self._receive())
