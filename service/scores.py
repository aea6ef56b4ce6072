"""Scores of layers that jobs have left on the shelf, read without a model, a GPU or torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from api_schemas.architectures import ModelFacts
from api_schemas.errors import LayercutError
from api_schemas.requests import PlanRequest
from api_schemas.strategies import LayerScores
from sources.fingerprint import FileHashes
from sources.scorings import FILE, scores_print
from sources.settings import SourceSettings
from store.artifacts import ArtifactStore
from store.shelf import ShelfStore


@dataclass(frozen=True)
class Kept:
    """By measure, and the job that took them."""

    scores: dict[str, LayerScores]
    job_id: str


class KeptScores:
    """``notes`` is a folder where the hashes of large files are remembered."""

    def __init__(self, settings: SourceSettings, shelf: ShelfStore, artifacts: ArtifactStore, notes: Path) -> None:
        self._settings, self._shelf, self._artifacts = settings, shelf, artifacts
        self._hashes = FileHashes(notes)

    def find(self, request: PlanRequest, facts: ModelFacts) -> Kept | None:
        """Those that the strategy of ``request`` ranks by, where a job like it has taken them."""
        fingerprint = scores_print(request, facts, self._settings, self._hashes)
        found = None if fingerprint is None else self._shelf.find(fingerprint)
        if fingerprint is None or found is None:
            return None
        try:
            size = self._artifacts.manifest(found.prefix).find(FILE).bytes
            body = b"".join(self._artifacts.open_range(found.prefix, FILE, 0, size))
        except LayercutError:  # its files are gone: the next job takes the scores anew
            self._shelf.forget(fingerprint, found.prefix)
            return None
        return Kept(json.loads(body), found.job_id)
