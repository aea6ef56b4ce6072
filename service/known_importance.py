"""The importance of layers, and brackets, that jobs have left in the cache; read without a model, a GPU or torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api_schemas.architectures import ModelFacts
from api_schemas.errors import LayercutError
from api_schemas.reports import Bracket
from api_schemas.requests import PlanRequest
from api_schemas.strategies import LayerImportance
from sources.blocks import Stopped, never
from sources.fingerprint import FileHashes
from sources.importance import (
    BRACKET_FILE,
    FILE,
    Asked,
    Identities,
    bracket_fingerprint,
    identify,
    importance_fingerprint,
    search_fingerprint,
)
from sources.settings import SourceSettings
from store.artifacts import ArtifactStore
from store.cache import CacheStore
from store.tables import DEFAULT_TENANT


@dataclass(frozen=True)
class MeasuredByJob:
    """The importance by measure, and the job that measured it: None where that is another tenant's."""

    importance: dict[str, LayerImportance]
    job_id: str | None


class KnownImportance:
    """``notes`` is a folder where the hashes of large files are remembered; ``pool`` the part of the cache that
    ``tenant`` reads. ``stopped`` is asked while files are hashed; where it says so, ``Cancelled`` is raised.
    """

    def __init__(
        self,
        settings: SourceSettings,
        cache: CacheStore,
        artifacts: ArtifactStore,
        notes: Path,
        *,
        tenant: str = DEFAULT_TENANT,
        pool: str = DEFAULT_TENANT,
        stopped: Stopped = never,
    ) -> None:
        self._settings, self._cache, self._artifacts = settings, cache, artifacts
        self._notes, self._tenant, self._pool = notes, tenant, pool
        self._hashes = FileHashes(notes, stopped=stopped)

    def of(self, tenant: str, pool: str, stopped: Stopped = never) -> KnownImportance:
        """What is known to one tenant, who waits until ``stopped`` says so."""
        shared = (self._settings, self._cache, self._artifacts, self._notes)
        return KnownImportance(*shared, tenant=tenant, pool=pool, stopped=stopped)

    def find(self, request: PlanRequest, facts: ModelFacts) -> MeasuredByJob | None:
        """What the strategy of ``request`` ranks by, where a job like it has measured it."""
        asked, read = self._identified(request, facts)
        found = self._read(importance_fingerprint(asked, facts, read), FILE)
        return None if found is None else MeasuredByJob(*found)

    def brackets(
        self, request: PlanRequest, facts: ModelFacts, *, by_retention: bool
    ) -> dict[int, tuple[Bracket, str | None]]:
        """By how many layers went: the brackets that jobs like ``request`` have run, and the job that did."""
        asked, read = self._identified(request, facts)
        question = search_fingerprint(asked, facts, read)
        found: dict[int, tuple[Bracket, str | None]] = {}
        for drop in range(1, facts.layers) if question is not None else ():
            assert question is not None
            seen = self._read(bracket_fingerprint(question, drop, by_retention=by_retention), BRACKET_FILE)
            if seen is not None:
                found[drop] = Bracket.model_validate(seen[0]), seen[1]
        return found

    def _identified(self, request: PlanRequest, facts: ModelFacts) -> tuple[Asked, Identities]:
        asked = Asked.by_plan(request, facts)
        return asked, identify(asked, facts, self._settings, self._hashes)

    def _read(self, fingerprint: str | None, file: str) -> tuple[Any, str | None] | None:
        """What a thing in the cache says, and the job that made it."""
        found = None if fingerprint is None else self._cache.find(fingerprint, tenant=self._tenant, pool=self._pool)
        if fingerprint is None or found is None:
            return None
        try:
            size = self._artifacts.manifest(found.prefix).find(file).bytes
            body = b"".join(self._artifacts.open_range(found.prefix, file, 0, size))
        except LayercutError:  # its files are gone: the next job makes it anew
            self._cache.forget(fingerprint, found.prefix)
            return None
        return json.loads(body), found.job_id
